"""Boxes: what is inside, what two have in common, and the nearest point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from heflwr.automon.box import Box

Vector = NDArray[np.float64]

NUMBERS = st.floats(-1e6, 1e6)
VECTORS = arrays(np.float64, 3, elements=NUMBERS)
BOXES = st.tuples(VECTORS, VECTORS).map(lambda pair: Box(np.minimum(*pair), np.maximum(*pair)))


@given(BOXES, VECTORS)
def test_the_nearest_point_of_a_box_is_in_it_and_a_point_of_the_box_is_its_own(box: Box, x: Vector) -> None:
    """Clipping moves a point into the box, and moves it only if it was outside."""
    nearest = box.clip(x)
    assert box.contains(nearest)
    assert box.contains(x) == np.array_equal(nearest, x)


@given(BOXES, BOXES, VECTORS)
def test_an_intersection_holds_the_points_of_both(one: Box, other: Box, x: Vector) -> None:
    """A point is in the intersection exactly if it is in both boxes; boxes apart have none, and that raises."""
    try:
        common = one.intersect(other)
    except ValueError:
        assert not other.contains(one.clip(x)) or not one.contains(one.clip(x))
        return
    assert common.contains(x) == (one.contains(x) and other.contains(x))
    assert common.contains(common.clip(x))


@given(VECTORS, st.floats(0, 100))
def test_a_box_around_a_point_holds_the_point(x: Vector, radius: float) -> None:
    """The centre is inside, for a radius of zero too."""
    assert Box.around(x, radius).contains(x)


def test_the_border_is_inside_and_a_nan_is_not() -> None:
    """A faulty vector is in no box, not even in one without bounds."""
    assert Box([0.0, 0.0], [1.0, 1.0]).contains(np.array([0.0, 1.0]))
    assert not Box([-np.inf, -np.inf], [np.inf, np.inf]).contains(np.array([0.0, np.nan]))


def test_a_box_may_have_a_radius_for_every_coordinate() -> None:
    """One radius a coordinate makes a box that is not a cube."""
    assert Box([0.0, -1.0], [2.0, 3.0]) == Box.around([1.0, 1.0], [1.0, 2.0])


def test_a_box_keeps_its_own_read_only_copy() -> None:
    """Changing the array that a box was made of does not change the box."""
    lower = np.zeros(2)
    box = Box(lower, np.ones(2))
    lower[0] = 5.0
    assert box.contains(np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        box.lower[0] = 1.0


def test_a_half_open_box_is_not_bounded() -> None:
    """An infinite bound is allowed, and told."""
    assert not Box([0.0], [np.inf]).is_bounded
    assert Box([0.0], [1.0]).is_bounded
    assert Box([0.0], [1.0]).dim == 1


@pytest.mark.parametrize(
    ("lower", "upper", "reason"),
    [
        ([0.0, 2.0], [1.0, 1.0], r"got \[2.0, 1.0\] at coordinate 1"),
        ([0.0], [1.0, 1.0], "must have one shape"),
        (0.0, 1.0, "must be a vector"),
        ([], [], "must be a vector"),
        ([np.nan], [1.0], "must not contain NaN"),
    ],
)
def test_a_box_that_is_none_is_refused(lower: object, upper: object, reason: str) -> None:
    """Crossed bounds, unlike shapes and NaN raise ValueError that says where."""
    with pytest.raises(ValueError, match=reason):
        Box(lower, upper)  # type: ignore[arg-type]


def test_a_negative_radius_and_an_unlike_box_are_refused() -> None:
    """So do a radius below zero, and a box of another dim to intersect with."""
    with pytest.raises(ValueError, match="radius must be >= 0, got -1"):
        Box.around([0.0], -1)
    with pytest.raises(ValueError, match="must have one dim"):
        Box([0.0], [1.0]).intersect(Box([0.0, 0.0], [1.0, 1.0]))
