"""The choice among the ways to derive a zone: the strongest guarantee that the function allows.

| f | zone | guarantee |
| --- | --- | --- |
| linear, as the jaxpr or a given Hessian of zeros shows | half-spaces | exact |
| a form of `heflwr.automon.forms`: ratio, quantile, ... | the form's own | exact |
| constant Hessian | ADCD-E | guaranteed |
| convex or concave, proved by the jaxpr or said by the caller | f and its tangent | guaranteed |
| made of operations with affine bounds | affine bounds over a box | guaranteed |
| anything else | ADCD-X with searched eigenvalues | heuristic |

A convex or concave f with a constant Hessian has the same zone in both ways; ADCD-E's needs no f in the nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heflwr.automon.answer import Guarantee
from heflwr.automon.arguments import check_error_bound
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.protocols.adcd import Adcd
from heflwr.automon.protocols.affine import Affine
from heflwr.automon.protocols.bent import Bent
from heflwr.automon.protocols.closed_form import ClosedForm

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import AtLeast, Derivation

STRENGTH = {Guarantee.HEURISTIC: 0, Guarantee.GUARANTEED: 1, Guarantee.EXACT: 2}


def choose(function: Function, error_bound: float, *, guarantee: AtLeast | None = None, seed: int = 0) -> Derivation:
    """Return the way to derive zones of a function.

    Args:
        function: What is monitored.
        error_bound: The zone keeps f within f(x0) +- error_bound, > 0.
        guarantee: At least so strong. None: as strong as f allows. "heuristic": where a proof would have to come from
            affine bounds, whose zones can be narrow, the eigenvalue search is taken instead; zones that are no
            narrower for being proved stay.
        seed: Of the eigenvalue search.

    Raises:
        ValueError: f does not allow the guarantee, or a Hessian contradicts the shape that the caller says f has.
    """
    check_error_bound(error_bound)
    if guarantee not in (None, "exact", "guaranteed", "heuristic"):
        raise ValueError(f"guarantee must be 'exact', 'guaranteed', 'heuristic' or None, got {guarantee!r}")
    chosen = _strongest(function, error_bound, guarantee == "heuristic", seed)
    if guarantee is not None and STRENGTH[chosen.guarantee] < STRENGTH[Guarantee(guarantee)]:
        raise ValueError(
            f"guarantee={guarantee!r} cannot be had for this function, only {chosen.guarantee.value!r}: {chosen.reason}"
            ". Give shape='convex' or 'concave' if f is one, write f as a form of heflwr.automon.forms, or ask for less"
        )
    return chosen


def _strongest(function: Function, error_bound: float, prefers_search: bool, seed: int) -> Derivation:
    if function.form is not None:
        return ClosedForm(function.form, error_bound)
    if function.is_constant_hessian:
        return Adcd(function, error_bound, seed=seed)
    for on_domain in (False, True):
        proved = function.proved_shape(on_domain=on_domain)
        if proved is not None:
            return Bent(function, error_bound, proved, is_everywhere=not on_domain)
    if function.claimed_shape is not None:
        return Bent(function, error_bound, function.claimed_shape, is_claimed=True, seed=seed)
    if prefers_search:
        return Adcd(function, error_bound, seed=seed)
    try:
        return Affine(function, error_bound)
    except UnsupportedFunction as error:
        return Adcd(function, error_bound, seed=seed, why_not=str(error))
