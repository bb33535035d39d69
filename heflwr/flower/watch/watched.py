"""The list of watched functions, as both sides get it: checked, and known by a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from heflwr.automon.fleet import Measure
from heflwr.automon.function import Function
from heflwr.flower.watch.wire import FINGERPRINT_BYTES

MOST = 100
"""Functions: a list is for people to look at."""


def listed(watch: Iterable[Measure]) -> tuple[Measure, ...]:
    """Return the measures of a list.

    Raises:
        TypeError: It is no list of measures.
        ValueError: It is empty or too long; two have one name; one has no bound.
    """
    if isinstance(watch, (str, Measure)) or not isinstance(watch, Iterable):
        raise TypeError(f'watch must be a list such as [fleet.mean("cpu_usage", bound=2.0)], got {watch!r}')
    measures = tuple(watch)
    for place, measure in enumerate(measures):
        if not isinstance(measure, Measure):
            raise TypeError(f"watch[{place}] is no measure of heflwr.automon.fleet: {measure!r}")
        if measure.bound is None:
            raise ValueError(
                f"watch[{place}], {measure.name}, has no bound: say how far off an answer may be, bound=..."
            )
    names = [measure.name for measure in measures]
    if not 0 < len(names) <= MOST:
        raise ValueError(f"watch holds 1 to {MOST} functions, got {len(names)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two functions of watch have the name {twice[0]!r}; give one of them another name=")
    return measures


def fingerprint(measures: Sequence[Measure]) -> bytes:
    """Return what two lists have in common if their nodes make the same vectors: of names, metrics and so on."""
    told = [[measure.name, list(measure.metrics), measure.dim, measure.smooth] for measure in measures]
    return hashlib.sha256(json.dumps(told).encode()).digest()[:FINGERPRINT_BYTES]


def for_nodes(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    """Return the part that makes vectors: what watches the functions stays with the server, and is never pickled."""
    return tuple(
        replace(measure, function=Function(_on_the_server, measure.dim), span=None, alerts=()) for measure in measures
    )


def _on_the_server(x: Any) -> float:
    raise NotImplementedError("a client makes vectors only")
