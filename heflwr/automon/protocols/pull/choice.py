"""Which outline a function gets: the strongest guarantee that it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.forms import CoefficientOfVariation, Increasing, JainFairness, Quantile, Ratio
from heflwr.automon.protocols.pull.forms import IncreasingOutline, MomentsOutline, QuantileOutline, RatioOutline
from heflwr.automon.protocols.pull.smooth import LARGEST, Bounded, Constant, Curved, Flat, Searched

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.pull.outline import Outline


def outline_of(function: Function, *, seed: int = 0) -> Outline:
    """Return the outline of a function: by its form, its degree, its shape, affine bounds, or else by a search.

    Args:
        function: What is watched.
        seed: Of the search.
    """
    form = function.form
    if isinstance(form, Ratio):
        return RatioOutline(form)
    if isinstance(form, CoefficientOfVariation | JainFairness):
        return MomentsOutline(form)
    if isinstance(form, Increasing):
        return IncreasingOutline(form)
    if isinstance(form, Quantile):
        return QuantileOutline(form)
    if function.is_linear:
        return Flat(function)
    if function.is_constant_hessian:
        return Constant(function)
    shape = function.claimed_shape or function.proved_shape(on_domain=True)
    if shape is not None and (function.is_separable or function.dim <= LARGEST):
        return Curved(function, is_convex=shape == "convex")
    try:
        return Bounded(function)
    except UnsupportedFunction:
        return Searched(function, seed=seed)
