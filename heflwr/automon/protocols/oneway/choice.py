"""Which certifier a function gets: the strongest guarantee that it allows, then the fewest messages."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from heflwr.automon.protocols.adcd import Adcd
from heflwr.automon.protocols.affine import Affine
from heflwr.automon.protocols.oneway.bank import BankCertifier
from heflwr.automon.protocols.oneway.bounded import Bounded
from heflwr.automon.protocols.oneway.curved import CurvedCertifier
from heflwr.automon.protocols.oneway.quadratic import QuadraticCertifier
from heflwr.automon.protocols.oneway.searched import Searched
from heflwr.automon.protocols.zoning import choose

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import AtLeast
    from heflwr.automon.protocols.oneway.certifier import Certifier


def choose_certifier(
    function: Function, error_bound: float, *, guarantee: AtLeast | None = None, seed: int = 0
) -> Certifier:
    """Return what makes and certifies the zones of a function.

    | f | certifier |
    | --- | --- |
    | linear, or with a constant Hessian | quadratic |
    | a form, or convex or concave | bank, with the zone of `zoning.choose` |
    | with affine bounds | curved, by affine bounds |
    | anything else | curved, by searched eigenvalues |

    Args:
        function: What is monitored.
        error_bound: > 0.
        guarantee: At least so strong; see `zoning.choose`.
        seed: Of the eigenvalue search.

    Raises:
        ValueError: f does not allow the guarantee.
    """
    derivation = choose(function, error_bound, guarantee=guarantee, seed=seed)
    if function.form is None and function.is_constant_hessian:
        return QuadraticCertifier(function, error_bound)
    if isinstance(derivation, Affine):
        return CurvedCertifier(function, error_bound, Bounded(function))
    if isinstance(derivation, Adcd):
        return CurvedCertifier(function, error_bound, Searched(function, seed=seed, why_not=derivation.why_not))
    return BankCertifier(derivation, error_bound, inf)
