"""Entries as a history keeps them: equal to those that came, and a quarter of their size.

A run of a thousand nodes and a thousand rounds has two million messages, whose numbers have the same few names and
whose texts are the same few texts: they are kept once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar, cast

from heflwr.flower.entry import Entry

SHARED_MOST = 10_000
"""Texts and sets of names that are remembered for sharing: clients choose them, and there must be an end."""

_EXACT = 2**53
"""Up to this a float holds every whole number."""

_T = TypeVar("_T")


class Numbers(Mapping[str, float]):
    """Floats by name: the names with their places are shared with other mappings, the values lie side by side."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: dict[str, int], values: array[float]) -> None:
        """Remember names and values.

        Args:
            places: By name, where its value is: 0, 1, ... in this order.
            values: Shape (len(places),), type code "d".
        """
        self._places = places
        self._values = values

    def __getitem__(self, name: str) -> float:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))


class Compactor:
    """Makes entries small; what it shares, it shares among those that it made."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], dict[str, int]] = {}
        self._shared: dict[object, object] = {}

    def compact(self, entry: Entry) -> Entry:
        """Return an equal entry; what is not as its annotation says stays as it is."""
        return replace(
            entry,
            node=self._same(entry.node),
            name=self._same(entry.name),
            kind=self._same(entry.kind),
            error=self._same(entry.error),
            cost=self._numbers(entry.cost),
            metrics=self._numbers(entry.metrics),
            host=self._same(entry.host),
            sources=self._texts(entry.sources),
            notes=self._same(entry.notes),
        )

    def _numbers(self, numbers: Mapping[str, float]) -> Mapping[str, float]:
        """Return numbers in little room where all are floats, or whole numbers that a float can hold."""
        if not isinstance(numbers, dict) or not all(map(_fits, numbers.values())):
            return numbers
        names = tuple(numbers)
        places = self._places.get(names)
        if places is None:
            if len(self._places) >= SHARED_MOST:
                return numbers
            places = self._places[names] = {name: place for place, name in enumerate(names)}
        return Numbers(places, array("d", numbers.values()))

    def _texts(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        return self._first(tuple(texts.items()), texts) if isinstance(texts, dict) else texts

    def _same(self, value: _T) -> _T:
        return self._first(value, value)

    def _first(self, key: object, value: _T) -> _T:
        """Return the first value with an equal key, this one where there is none or where the key cannot be one."""
        try:
            found = self._shared.get((type(value), key))
            if found is None and len(self._shared) < SHARED_MOST:
                self._shared[type(value), key] = value
        except TypeError:
            return value
        return value if found is None else cast("_T", found)


def _fits(value: object) -> bool:
    return type(value) is float or (type(value) is int and -_EXACT <= value <= _EXACT)
