"""Zones of convex and of concave functions: one side is f itself, the other its tangent; nothing is searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.dc import DcZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function, Shape
    from heflwr.automon.zones.zone import Floats

PROVED = "f is {}, which its jaxpr proves; then the zone follows without any search"
CLAIMED = "f is {}, which the caller says and some Hessians do not contradict; then the zone follows without any search"

PROBES = 16
"""Points at which a claim is held against the Hessian: enough for a mistaken sign, which shows nearly everywhere."""

NEGLIGIBLE = 1e-8
"""An eigenvalue of the wrong sign below this share of the largest at any probe is rounding."""


class Bent:
    """The zone of a convex f is {f <= upper, tangent >= lower}: the tangent lies below f. Of a concave f, the mirror.

    AutoMon's Lemma 1 with a curvature of 0.

    Args:
        function: What is monitored.
        error_bound: The zone keeps f within f(x0) +- error_bound, > 0.
        shape: Which of both f is.
        is_everywhere: Whether it is that wherever it is a number, not only on its domain.
        is_claimed: Whether the caller says so; held against some Hessians.
        seed: Of the points for that.

    Raises:
        ValueError: A Hessian contradicts the claim.
    """

    has_neighbourhood = False
    guarantee = Guarantee.GUARANTEED

    def __init__(
        self,
        function: Function,
        error_bound: float,
        shape: Shape,
        *,
        is_everywhere: bool = False,
        is_claimed: bool = False,
        seed: int = 0,
    ) -> None:
        self._function, self._error_bound = function, error_bound
        self._is_convex, self._is_within_domain = shape == "convex", not is_everywhere
        self.reason = (CLAIMED if is_claimed else PROVED).format(shape)
        if is_claimed:
            _hold_against_hessians(function, shape, seed)

    def zone(self, reference: Floats, radius: float) -> DcZone:
        """The zone around `reference`; the radius is of no consequence."""
        function = self._function
        value, gradient = float(function.value(reference)), np.asarray(function.gradient(reference), dtype=np.float64)
        if not np.isfinite([value, *gradient]).all():
            raise UnsupportedFunction(f"f or its gradient is not finite at x0 = {reference}")
        lower, upper = value - self._error_bound, value + self._error_bound
        zone = DcZone(
            reference, value, gradient, lower, upper, 0.0, self._is_convex, is_within_domain=self._is_within_domain
        )
        return zone.finished(function)


def _hold_against_hessians(function: Function, shape: Shape, seed: int) -> None:
    """Raises ValueError where the Hessian at some point of the domain contradicts the claim."""
    random, domain = np.random.default_rng(seed), function.domain
    if domain is not None and domain.is_bounded:
        points = random.uniform(domain.lower, domain.upper, (PROBES, function.dim))
    else:
        # Nobody knows how large the vectors are: every size between a thousandth and a thousand is tried.
        sizes = np.logspace(-3, 3, PROBES)[:, None]
        points = sizes * random.normal(size=(PROBES, function.dim))
        points = points if domain is None else domain.clip(points)
    sign, lowest, scale = 1.0 if shape == "convex" else -1.0, [], 0.0
    for point in points:
        hessian = function.hessian(point)
        if np.isfinite(function.value(point)) and np.isfinite(hessian).all():
            eigenvalues = sign * np.linalg.eigvalsh(hessian)
            lowest.append((float(eigenvalues.min()), point))
            scale = max(scale, float(np.abs(eigenvalues).max()))
    eigenvalue, point = min(lowest, key=lambda pair: pair[0], default=(0.0, points[0]))
    if eigenvalue < -NEGLIGIBLE * scale:
        raise ValueError(
            f"f is not {shape}: its Hessian has the eigenvalue {sign * eigenvalue:.3g} at {point}; leave out shape="
        )
