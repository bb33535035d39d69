"""Zones in closed form: inside means within the bound, and for polytopes also the reverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.forms import CoefficientOfVariation, Form, Increasing, JainFairness, Quantile, Ratio
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import ViolationKind

RATIO = Ratio(np.array([1.0, -2.0, 0.5]), np.array([0.5, 1.0, 0.0]), numerator_offset=0.3, denominator_offset=0.1)
LOG = Increasing(
    link=lambda x: float(np.log(x)) if x > 0 else np.nan,
    inverse=np.exp,
    slope=lambda x: 1 / x,
    bend=lambda x: -1 / x**2,
)
QUANTILE = Quantile(np.array([0.0, 1.0, 2.0, 4.0, 8.0, 9.0]), 0.8)

positive = st.floats(0.01, 10, allow_subnormal=False)
moments = st.lists(positive, min_size=1, max_size=5).map(lambda v: np.array([np.mean(v), np.mean(np.square(v))]))
histograms = st.lists(st.integers(0, 6), min_size=5, max_size=5).filter(any).map(lambda v: np.array(v) / sum(v))
ratios = st.lists(positive, min_size=3, max_size=3).map(np.array)
numbers = positive.map(lambda x: np.array([x]))

FORMS: dict[str, tuple[Form, st.SearchStrategy[np.ndarray]]] = {
    "ratio": (RATIO, ratios),
    "log": (LOG, numbers),
    "quantile": (QUANTILE, histograms),
    "variation": (CoefficientOfVariation(), moments),
    "fairness": (JainFairness(), moments),
}


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data(), error_bound=st.sampled_from([0.01, 0.3, 1.2]))
def test_inside_is_within_the_bound(name: str, data: st.DataObject, error_bound: float) -> None:
    """A point of the zone has a value within the bound, x0 is inside, and polytopes admit every such point."""
    form, points = FORMS[name]
    reference, point = data.draw(points), data.draw(points)
    zone = form.zone(reference, error_bound)
    assert zone.value == form.value(reference)
    assert zone.violation(reference) is None
    error = abs(form.value(point) - zone.value)
    if zone.violation(point) is None:
        assert error <= error_bound + 1e-7
    elif name in ("ratio", "log", "quantile"):
        assert error >= error_bound - 1e-7


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
def test_means_of_members_are_members(name: str, data: st.DataObject) -> None:
    """The mean of points of a zone has a value within the bound, although no node knows it."""
    form, points = FORMS[name]
    zone = form.zone(data.draw(points), 0.4)
    members = [one for one in data.draw(st.lists(points, min_size=1, max_size=8)) if zone.violation(one) is None]
    if members:
        assert abs(form.value(np.mean(members, axis=0)) - zone.value) <= 0.4 + 1e-7


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
def test_many_points_are_judged_as_one_by_one(name: str, data: st.DataObject) -> None:
    """The array form of the check gives each point the kind that the single form gives it."""
    form, points = FORMS[name]
    zone = form.zone(data.draw(points), 0.4)
    rows = np.array(data.draw(st.lists(points, min_size=1, max_size=6)))
    assert [zone.violation(row) or 0 for row in rows] == zone.violations(rows, None).tolist()


@pytest.mark.parametrize("name", ["ratio", "log", "variation", "fairness"])
@given(data=st.data())
def test_derivatives_are_those_of_the_value(name: str, data: st.DataObject) -> None:
    """Gradient and Hessian agree with differences of the value and of the gradient."""
    form, points = FORMS[name]
    x, step = data.draw(points), 1e-6
    if not form.value(x) ** 2 > 1e-2:
        return  # a coefficient of variation has a kink at zero
    steps = step * np.maximum(np.abs(x), 1e-2)[:, None] * np.eye(form.dim)
    slopes = [(form.value(x + one) - form.value(x - one)) / (2 * one.sum()) for one in steps]
    bends = [(form.gradient(x + one) - form.gradient(x - one)) / (2 * one.sum()) for one in steps]
    scale = 1 + np.abs(form.hessian(x)).max()
    assert np.allclose(slopes, form.gradient(x), rtol=1e-3, atol=1e-4 * scale)
    assert np.allclose(bends, form.hessian(x), rtol=1e-3, atol=1e-4 * scale)


def test_nothing_over_nothing_is_outside() -> None:
    """Where numerator and denominator both vanish the ratio has no value, and the zone does not reach there."""
    form = Ratio(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    zone = form.zone(np.array([6.0, 2.0]), 1.0)
    assert ViolationKind.SAFE_ZONE is zone.violation(np.zeros(2))
    assert zone.violation(np.array([np.nan, 1.0])) is not None


@pytest.mark.parametrize(
    ("form", "reference", "match"),
    [
        (RATIO, np.array([1.0, -5.0, 0.0]), "denominator must be > 0"),
        (LOG, np.array([-1.0]), "must be a number"),
        (QUANTILE, np.zeros(5), "must hold something"),
        (JainFairness(), np.zeros(2), "must be > 0"),
        (CoefficientOfVariation(), np.zeros(2), "must be > 0"),
    ],
)
def test_a_mean_without_a_value_is_named(form: Form, reference: np.ndarray, match: str) -> None:
    """There is no zone around a point where f has no value; the message holds the point."""
    with pytest.raises(UnsupportedFunction, match=match):
        form.zone(reference, 0.1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Ratio(np.ones(2), np.ones(3)), "one shape"),
        (lambda: Ratio(np.array([np.inf]), np.ones(1)), "finite"),
        (lambda: Quantile(np.array([0.0, 1.0]), 1.0), "between 0 and 1"),
        (lambda: Quantile(np.array([1.0, 1.0]), 0.5), "increasing"),
        (lambda: Quantile(np.array([1.0]), 0.5), "at least two"),
    ],
)
def test_wrong_forms_are_refused(make: object, match: str) -> None:
    """Shapes and numbers are checked when the form is made."""
    with pytest.raises(ValueError, match=match):
        make()  # type: ignore[operator]


def test_a_quantile_counts_bins() -> None:
    """The value is the centre of the first bin up to which the share is reached, also where it is reached exactly."""
    assert 0.5 == QUANTILE.value(np.array([4.0, 1.0, 0.0, 0.0, 0.0]))
    assert 1.5 == QUANTILE.value(np.array([3.9, 1.1, 0.0, 0.0, 0.0]))
    assert 8.5 == QUANTILE.value(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert np.isnan(QUANTILE.value(np.zeros(5)))


def test_a_wide_bound_leaves_everything_inside() -> None:
    """A bound past all bins gives a zone without a single half-space."""
    zone = QUANTILE.zone(np.array([0.2, 0.2, 0.2, 0.2, 0.2]), 100.0)
    assert 0 == len(zone.room)
    assert zone.violation(np.array([9.0, -9.0, 0.0, 0.0, 0.0])) is None


def test_a_function_of_a_form_needs_no_jax() -> None:
    """Value and derivatives come from the form."""
    function = Function.of(RATIO)
    x = np.array([1.0, 2.0, 3.0])
    assert (RATIO.dim, RATIO) == (function.dim, function.form)
    assert RATIO.value(x) == function.value(x) == function.numpy(x)
    assert np.array_equal(RATIO.gradient(x), function.gradient(x))
    assert np.array_equal(RATIO.hessian(x), function.hessian(x))
