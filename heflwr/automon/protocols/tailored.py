"""Zones made by hand for one function each, and a check that is none: what AutoMon is compared with.

Each of these derives zones for the coordinator of `protocols.gm`, in the place of AutoMon's own derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.arguments import check_error_bound
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.protocols.nearest import nearest_entropy, nearest_variance
from heflwr.automon.zones.admissible import AdmissibleZone
from heflwr.automon.zones.ball import BallZone
from heflwr.automon.zones.concave import ConcaveZone
from heflwr.automon.zones.cosine import CosineZone
from heflwr.automon.zones.inner_product import InnerProductZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import CentredZone, Floats

PROBES = 16
"""Points at which a function is compared with the formula that a zone is made for; two smooth functions that agree at
so many random points without being the same do not happen by chance."""

CLOSE = 1e-9
"""Relative difference that rounding explains."""


class Tailored:
    """A derivation that needs no neighbourhood.

    Args:
        function: What is monitored.
        error_bound: > 0.
        derive: (x0, f(x0), error_bound) -> the zone as it travels.
        guarantee: What backs it.
        reason: Why, in words.
    """

    has_neighbourhood = False

    def __init__(
        self,
        function: Function,
        error_bound: float,
        derive: Callable[
            [Floats, float, float], AdmissibleZone | BallZone | ConcaveZone | CosineZone | InnerProductZone
        ],
        guarantee: Guarantee,
        reason: str,
    ) -> None:
        check_error_bound(error_bound)
        self._function, self._error_bound, self._derive = function, error_bound, derive
        self.guarantee, self.reason = guarantee, reason

    def zone(self, reference: Floats, radius: float) -> CentredZone:
        """The zone around `reference`, complete; the radius says nothing to it.

        Raises:
            UnsupportedFunction: f is not finite there.
        """
        value = float(self._function.value(reference))
        if not np.isfinite(value):
            raise UnsupportedFunction(f"f is not finite at x0 = {reference}")
        zone = self._derive(reference, value, self._error_bound)
        return zone if isinstance(zone, CosineZone | InnerProductZone) else zone.finished(self._function, None)


def local_check(function: Function, error_bound: float) -> Tailored:
    """Protocol "rlv": each node keeps its own f(x_i) within the bound of f(x0)."""

    def derive(reference: Floats, value: float, bound: float) -> AdmissibleZone:
        return AdmissibleZone(reference, value, value - bound, value + bound)

    reason = "each node looks at f of its own vector alone, which bounds f of the mean only where f is linear"
    guarantee, exact = Guarantee.HEURISTIC, "f is linear, so each node's own check bounds f of the mean"
    if function.is_linear:
        guarantee, reason = Guarantee.EXACT, exact
    return Tailored(function, error_bound, derive, guarantee, reason)


def balls(function: Function, error_bound: float) -> Tailored:
    """Protocol "gm-ball": Sharfman, Schuster, Keren (SIGMOD 2006)."""
    is_quadratic = bool(function.is_constant_hessian)

    def derive(reference: Floats, value: float, bound: float) -> BallZone:
        return BallZone(reference, value, value - bound, value + bound, is_quadratic)

    if is_quadratic:
        reason = "the balls cover the mean, and the extremes of a quadratic over a ball are bounded by duality"
        return Tailored(function, error_bound, derive, Guarantee.GUARANTEED, reason)
    reason = "the balls cover the mean, but the extremes of f over them come from a search that may miss them"
    return Tailored(function, error_bound, derive, Guarantee.HEURISTIC, reason)


def convex_bound(function: Function, error_bound: float) -> Tailored:
    """Protocol "cb": the inner product and the cosine similarity of x = [u, v] (Lazerson, Keren, Schuster, KDD 2016).

    Raises:
        ValueError: f is neither.
    """
    if function.dim % 2 == 0 and _is(function, inner_product):

        def derive(reference: Floats, value: float, bound: float) -> InnerProductZone | CosineZone:
            return InnerProductZone(reference, value, value - bound, value + bound)

        name = "the inner product"
    elif function.dim % 2 == 0 and _is(function, cosine_similarity):

        def derive(reference: Floats, value: float, bound: float) -> InnerProductZone | CosineZone:
            return CosineZone(reference, value, value - bound, value + bound)

        name = "the cosine similarity"
    else:
        raise ValueError(
            "protocol 'cb' knows the inner product and the cosine similarity of the two halves of x; this function "
            "differs from both: take 'auto' or 'gm'"
        )
    reason = f"the zone is a convex part of the admissible region of {name}, in closed form"
    return Tailored(function, error_bound, derive, Guarantee.GUARANTEED, reason)


def variance_zones(function: Function, error_bound: float) -> Tailored:
    """Protocol "variance": x[-1] - |x[:-1]|^2 of x = [v, |v|^2] (Gabel, Schuster, Keren, IPDPS 2014).

    Raises:
        ValueError: f is something else.
    """
    if function.dim < 2 or not _is(function, variance):
        raise ValueError(
            "protocol 'variance' knows x[-1] - x[:-1] @ x[:-1] of local vectors x = [v, |v|^2] alone; this function "
            "differs from it: take 'auto' or 'gm'"
        )

    def derive(reference: Floats, value: float, bound: float) -> ConcaveZone:
        nearest = nearest_variance(reference, bound)
        normal = np.append(-2 * nearest[:-1], 1.0)
        return ConcaveZone(
            reference, value, value - bound, normal, value + bound - variance(nearest[None])[0] + normal @ nearest
        )

    reason = "the variance is concave in [v, |v|^2]: one threshold is a convex set, the other is kept by a tangent"
    return Tailored(function, error_bound, derive, Guarantee.GUARANTEED, reason)


def entropy_zones(function: Function, error_bound: float, smoothing: float = 0.0) -> Tailored:
    """Protocol "entropy": -sum (x + smoothing) log (x + smoothing) (Gabel, Keren, Schuster, KDD 2017).

    Raises:
        ValueError: f is something else.
    """
    if not smoothing >= 0:
        raise ValueError(f"smoothing must be >= 0, got {smoothing}")

    def entropy(rows: Floats) -> Floats:
        shares = rows + smoothing
        result: Floats = -(shares * np.log(shares)).sum(axis=1)
        return result

    if not _is(function, entropy, is_positive=True):
        raise ValueError(
            f"protocol 'entropy' knows -sum((x + smoothing) * log(x + smoothing)) alone, here with {smoothing=}; this "
            "function differs from it: give its smoothing=, or take 'auto' or 'gm'"
        )

    def derive(reference: Floats, value: float, bound: float) -> ConcaveZone:
        nearest = nearest_entropy(reference + smoothing, value + bound)
        normal = -np.log(nearest) - 1
        at = nearest - smoothing
        offset = value + bound - entropy(at[None])[0] + normal @ at
        return ConcaveZone(reference, value, value - bound, normal, float(offset))

    reason = "the entropy is concave: one threshold is a convex set, the other is kept by a tangent"
    return Tailored(function, error_bound, derive, Guarantee.GUARANTEED, reason)


# The formulas, for rows of vectors


def inner_product(rows: Floats) -> Floats:
    """Inner product of rows [u, v]."""
    half = rows.shape[1] // 2
    result: Floats = (rows[:, :half] * rows[:, half:]).sum(axis=1)
    return result


def cosine_similarity(rows: Floats) -> Floats:
    """Inner product over norms of rows [u, v]."""
    half = rows.shape[1] // 2
    norms = np.linalg.norm(rows[:, :half], axis=1) * np.linalg.norm(rows[:, half:], axis=1)
    result: Floats = inner_product(rows) / norms
    return result


def variance(rows: Floats) -> Floats:
    """The last of each row [m, s] less |m|^2."""
    result: Floats = rows[:, -1] - (rows[:, :-1] ** 2).sum(axis=1)
    return result


def _is(function: Function, formula: Callable[[Floats], Floats], is_positive: bool = False) -> bool:
    """Whether f agrees with the formula at random points of its domain."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((PROBES, function.dim))
    if is_positive:
        rows = random.dirichlet(np.ones(function.dim), PROBES)
    if function.domain is not None:
        rows = function.domain.clip(rows)
    with np.errstate(all="ignore"):
        expected, found = formula(rows), np.asarray(function.values(rows), dtype=np.float64)
    return bool(np.allclose(found, expected, rtol=CLOSE, atol=CLOSE))
