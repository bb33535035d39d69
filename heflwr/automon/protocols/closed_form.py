"""Zones that a function brings along: of ratios, quantiles and other forms."""

from __future__ import annotations

from heflwr.automon.answer import Guarantee
from heflwr.automon.forms import Form
from heflwr.automon.zones.zone import CentredZone, Floats


class ClosedForm:
    """The admissible region of a form, or a convex part of it.

    Args:
        form: What is monitored.
        error_bound: The zone keeps f within f(x0) +- error_bound, > 0.
    """

    has_neighbourhood = False
    guarantee = Guarantee.EXACT

    def __init__(self, form: Form, error_bound: float) -> None:
        self._form = form
        self._error_bound = error_bound
        self.reason = form.reason

    def zone(self, reference: Floats, radius: float) -> CentredZone:
        """The zone around `reference`; the radius is of no consequence."""
        return self._form.zone(reference, self._error_bound)
