"""AutoMon's way from a reference point to a safe zone: automatic difference of convex functions (ADCD-E, ADCD-X)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.arguments import check_error_bound
from heflwr.automon.curvature import extremes
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.dc import DcZone, neighbourhood
from heflwr.automon.zones.quadratic import QuadraticZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import Floats

LINEAR = "f is linear, so the zone is the admissible region itself"
CONSTANT = "the Hessian is constant, so the zone is derived in closed form (ADCD-E)"
SEARCHED = "the extreme eigenvalues of the Hessian come from a numerical search that may miss them (ADCD-X)"


class Adcd:
    """Derives the safe zone of a function around any reference point.

    Args:
        function: What is monitored.
        error_bound: The zone keeps f within f(x0) +- error_bound, > 0.
        seed: Of the eigenvalue search.
        why_not: Why there is no proof, for the reason; empty where none was tried.
    """

    def __init__(self, function: Function, error_bound: float, *, seed: int = 0, why_not: str = "") -> None:
        check_error_bound(error_bound)
        self._function = function
        self._error_bound = error_bound
        self._seed = seed
        self.why_not = why_not
        self._searched = f"{SEARCHED}; {why_not}" if why_not else SEARCHED
        self.has_neighbourhood = not function.is_constant_hessian
        self.guarantee, self.reason = Guarantee.HEURISTIC, self._searched
        if not self.has_neighbourhood:
            self.guarantee, self.reason = Guarantee.GUARANTEED, CONSTANT
        if function.is_linear:
            self.guarantee, self.reason = Guarantee.EXACT, LINEAR

    def zone(self, reference: Floats, radius: float) -> QuadraticZone | DcZone:
        """The safe zone around `reference`, complete, with a neighbourhood of half-side `radius` (may be infinite).

        Raises:
            UnsupportedFunction: f or a derivative is not finite there.
        """
        function = self._function
        value, gradient = float(function.value(reference)), np.asarray(function.gradient(reference), dtype=np.float64)
        lower, upper = value - self._error_bound, value + self._error_bound
        hessian = np.asarray(function.hessian(reference), dtype=np.float64)
        if not self.has_neighbourhood:
            return QuadraticZone.of(reference, value, gradient, (lower, upper), hessian)
        box = neighbourhood(function.domain, reference, radius)
        if box is None:
            raise ValueError("a function whose Hessian is not constant needs a domain or a radius, got neither")
        found = extremes(function, box, seed=self._seed)
        self.reason = f"{self._searched}. {found.status.value}"
        falling, rising = max(-float(found.lowest), 0.0), max(float(found.highest), 0.0)
        # The paper's heuristic: prefer the difference whose convex parts are flatter at x0.
        at_reference = np.linalg.eigvalsh(hessian)
        is_convex = abs(at_reference[0] + 2 * falling) <= abs(at_reference[-1] - 2 * rising)
        curvature = falling if is_convex else rising
        if not np.isfinite([value, curvature, *gradient]).all():
            raise UnsupportedFunction(f"f, its gradient or its curvature is not finite around x0 = {reference}")
        zone = DcZone(reference, value, gradient, lower, upper, curvature, bool(is_convex), radius)
        return zone.finished(function)
