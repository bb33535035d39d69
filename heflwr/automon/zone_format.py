"""A zone as bytes, and back, by its dataclass: numbers, float64 arrays and a zone inside travel.

A field that is not in the zone's repr is the receiver's own (f, a box, what follows from other fields): it stays behind
and must have a default. The others are of type int (a count), bool, float, Floats, Floats | None, or a zone.

    tag       1 byte
    marks     a count with a bit for each flag and for each array that may be None
    sizes     a count for each size that the arrays have, the dimension first
    counts, floats, arrays (all finite), the zone inside
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.wire import Reader, count_bytes, count_size, float_bytes, floats_bytes
from heflwr.automon.zones.admissible import AdmissibleZone
from heflwr.automon.zones.affine import AffineZone
from heflwr.automon.zones.ball import BallZone
from heflwr.automon.zones.concave import ConcaveZone
from heflwr.automon.zones.cosine import CosineZone
from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.drift import PointZone, ShiftedZone
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.inner_product import InnerProductZone
from heflwr.automon.zones.moments import MomentsZone
from heflwr.automon.zones.quadratic import QuadraticZone
from heflwr.automon.zones.slab import SlabZone
from heflwr.automon.zones.zone import Zone

ZONES: dict[int, tuple[type[Any], dict[str, str]]] = {
    1: (QuadraticZone, {"factor": "kd"}),
    2: (DcZone, {}),
    3: (SlabZone, {"factor": "kd"}),
    4: (PointZone, {}),
    5: (ShiftedZone, {}),
    6: (HalfSpaces, {"normals": "kd", "room": "k"}),
    7: (MomentsZone, {}),
    8: (AffineZone, {}),
    9: (ConcaveZone, {}),
    10: (AdmissibleZone, {}),
    11: (BallZone, {}),
    12: (CosineZone, {}),
    13: (InnerProductZone, {}),
}
"""The zones that travel, by tag, 1 to 63; a tag is never given to another zone.

With each the shapes of its arrays, a letter an axis: d is the dimension, and so is the shape of those not named.
"""

DEEPEST = 2
"""How many zones may be inside one another."""

ARRAYS = ("Floats", "Floats | None")
INSIDE = ("Zone", "CentredZone", "DriftZone")


@dataclass(frozen=True)
class Layout:
    """The names of a zone's fields that travel, by type."""

    zone: type[Any]
    flags: tuple[str, ...]
    counts: tuple[str, ...]
    floats: tuple[str, ...]
    arrays: tuple[tuple[str, str], ...]
    """Name and shape."""
    optional: tuple[str, ...]
    """The arrays that may be None."""
    inside: tuple[str, ...]
    """Fields that are zones."""


@lru_cache
def layout_of(tag: int) -> Layout:
    """Return the layout of the zone with this tag.

    Raises:
        TypeError: A field is of a type that does not travel.
    """
    zone, shapes = ZONES[tag]
    types = {field.name: str(field.type) for field in fields(zone) if field.init and field.repr}
    for name, kind in types.items():
        if kind not in ("bool", "int", "float", *ARRAYS, *INSIDE):
            raise TypeError(f"{zone.__name__}.{name} is a {kind}, which does not travel")

    def named(*kinds: str) -> tuple[str, ...]:
        return tuple(name for name, kind in types.items() if kind in kinds)

    arrays = tuple((name, shapes.get(name, "d")) for name in named(*ARRAYS))
    return Layout(
        zone, named("bool"), named("int"), named("float"), arrays, named("Floats | None"), inside=named(*INSIDE)
    )


@lru_cache
def _tags() -> dict[type[Any], int]:
    return {zone: tag for tag, (zone, _) in ZONES.items()}


def tag_of(zone: Zone) -> int:
    """Return the tag of a zone.

    Raises:
        TypeError: It has none.
    """
    tag = _tags().get(type(zone))
    if tag is None:
        raise TypeError(f"a {type(zone).__name__} cannot travel: it has no tag in ZONES")
    return tag


def dimension(zone: Zone) -> int | None:
    """Return the length of the vectors that a zone judges; None if it judges any."""
    layout = layout_of(tag_of(zone))
    if layout.inside:
        return dimension(getattr(zone, layout.inside[0]))
    return _sizes(zone, layout).get("d")


def zone_bytes(zone: Zone) -> bytes:
    """Return a zone without its tag.

    Raises:
        ValueError: Its arrays' shapes contradict each other, or one is not finite.
    """
    return _zone_bytes(zone)  # type: ignore[arg-type]  # zones are told apart by identity


@lru_cache(maxsize=4)  # a full sync sends one zone to all nodes
def _zone_bytes(zone: Any) -> bytes:
    layout = layout_of(tag_of(zone))
    arrays = [getattr(zone, name) for name, _ in layout.arrays if getattr(zone, name) is not None]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(f"a zone's arrays must be finite to travel, got {zone}")
    inside = [getattr(zone, name) for name in layout.inside]
    return b"".join(
        [
            count_bytes(_marks(zone, layout)),
            *[count_bytes(size) for size in _sizes(zone, layout).values()],
            *[count_bytes(getattr(zone, name)) for name in layout.counts],
            *[float_bytes(getattr(zone, name)) for name in layout.floats],
            *[floats_bytes(array) for array in arrays],
            *[bytes([tag_of(other)]) + zone_bytes(other) for other in inside],
        ]
    )


def zone_size(zone: Zone) -> int:
    """Return how many bytes `zone_bytes` makes."""
    return _zone_size(zone)  # type: ignore[arg-type]  # zones are told apart by identity


@lru_cache(maxsize=4)
def _zone_size(zone: Any) -> int:
    layout = layout_of(tag_of(zone))
    arrays = [getattr(zone, name) for name, _ in layout.arrays]
    counts = [_marks(zone, layout), *_sizes(zone, layout).values(), *[getattr(zone, name) for name in layout.counts]]
    numbers = len(layout.floats) + sum(array.size for array in arrays if array is not None)
    inside = sum(1 + zone_size(getattr(zone, name)) for name in layout.inside)
    return sum(map(count_size, counts)) + 8 * int(numbers) + inside


def read_zone(tag: int, reader: Reader, depth: int = DEEPEST) -> Zone:
    """Return the zone that comes next, as it was sent: its receiver has to finish it.

    Raises:
        MalformedMessage: There is none.
    """
    if tag not in ZONES:
        raise MalformedMessage(f"there is no zone with tag {tag}: it is 1 to {max(ZONES)}")
    if depth == 0:
        raise MalformedMessage(f"more than {DEEPEST} zones are inside one another")
    layout = layout_of(tag)
    name = layout.zone.__name__
    marks = reader.count(f"{name}'s marks")
    marked = (*layout.flags, *layout.optional)
    if marks >> len(marked):
        raise MalformedMessage(f"{name} has {len(marked)} marks, got {marks:b}")
    values: dict[str, Any] = {mark: bool(marks >> at & 1) for at, mark in enumerate(marked)}
    present = [(array, shape) for array, shape in layout.arrays if values.pop(array, True)]
    values |= dict.fromkeys(layout.optional)
    sizes = {letter: reader.count(f"{name}'s size {letter}") for letter in _letters(shape for _, shape in present)}
    if sizes.get("d") == 0:
        raise MalformedMessage(f"{name}'s dimension is 0")
    for count in layout.counts:
        values[count] = reader.count(count)
    for number in layout.floats:
        values[number] = reader.float(number)
    for array, shape in present:
        values[array] = reader.floats(tuple(sizes[letter] for letter in shape), array)
    for other in layout.inside:
        values[other] = read_zone(reader.byte(f"{name}'s {other}"), reader, depth - 1)
    try:
        zone: Zone = layout.zone(**values)
    except ValueError as error:
        raise MalformedMessage(f"these numbers make no {name}: {error}") from error
    return zone


def _letters(shapes: Iterable[str]) -> list[str]:
    """Return the letters of shapes, each once, d first."""
    return sorted(set("".join(shapes)), key=lambda letter: (letter != "d", letter))


def _marks(zone: Zone, layout: Layout) -> int:
    flags = [bool(getattr(zone, name)) for name in layout.flags]
    flags += [getattr(zone, name) is not None for name in layout.optional]
    return sum(int(flag) << at for at, flag in enumerate(flags))


def _sizes(zone: Zone, layout: Layout) -> dict[str, int]:
    present = [(name, shape, getattr(zone, name)) for name, shape in layout.arrays if getattr(zone, name) is not None]
    sizes = dict.fromkeys(_letters(shape for _, shape, _ in present), -1)
    for name, shape, array in present:
        if array.ndim != len(shape):
            raise ValueError(f"{layout.zone.__name__}.{name} must have {len(shape)} axes, got shape {array.shape}")
        for letter, size in zip(shape, array.shape, strict=True):
            if sizes[letter] not in (-1, size):
                raise ValueError(f"{layout.zone.__name__}.{name} has shape {array.shape}, which does not fit the rest")
            sizes[letter] = size
    return sizes
