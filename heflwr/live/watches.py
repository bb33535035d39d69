"""The list of watched functions, from a TOML file that an agent and its coordinator both have.

    [[watch]]
    kind = "quantile"        # an entry of heflwr.automon.fleet
    metric = "cpu_usage"     # its arguments; several metrics are metrics = ["a", "b"]
    q = 0.95
    bound = 2.5              # how far off the answer may be; needed, where the kind has none of its own
    name = "cpu p95"         # what it is called; default the entry's own name
    window = 5               # local vectors are the mean over so many samples; default 1
    above = 80.0             # an alert, or below = ; with possible = true also where the bound leaves it open

Who changes what an agent does (kind, arguments, bound, name, window, or the order) changes the fingerprint, by which
the two see that their lists differ; alerts are the coordinator's alone.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heflwr.live.catalogue import kinds, made
from heflwr.live.errors import WrongWatches
from heflwr.live.frames import MOST_FUNCTIONS

if TYPE_CHECKING:
    from heflwr.automon.fleet import Measure

NAME_LENGTH = 100
"""Longest name, in characters: it is a label of Prometheus."""

MOST_WINDOW = 10_000
"""Samples in a window, which an agent keeps."""

OWN_KEYS = ("kind", "bound", "name", "window", "above", "below", "possible")
"""Of a [[watch]]; all others are arguments of its kind."""


@dataclass(frozen=True)
class Watch:
    """One watched function.

    Args:
        measure: With name and bound.
        window: Samples that a local vector is the mean over, >= 1.
        above: An alert when the value is above this number.
        below: Likewise.
        is_possible: The alert comes wherever the bound leaves it open, not only where it is certain.
        text: What makes it the same function elsewhere, as canonical JSON.
    """

    measure: Measure
    window: int
    above: float | None
    below: float | None
    is_possible: bool
    text: str

    @property
    def name(self) -> str:
        """What it is called."""
        return self.measure.name

    @property
    def bound(self) -> float:
        """How far off the answer may be, in the measure's unit."""
        assert self.measure.bound is not None
        return self.measure.bound

    @property
    def entry(self) -> dict[str, Any]:
        """What a file would say of it: of which `watches_of` makes the same again."""
        same: dict[str, Any] = json.loads(self.text)
        alerts = {"above": self.above, "below": self.below, "possible": self.is_possible or None}
        return {**same.pop("arguments"), **same, **{key: value for key, value in alerts.items() if value is not None}}


@dataclass(frozen=True)
class Watches:
    """All watched functions, in order; a function's place is its number on the wire."""

    watches: tuple[Watch, ...]

    def __iter__(self) -> Iterator[Watch]:
        return iter(self.watches)

    def __len__(self) -> int:
        return len(self.watches)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are the same where the same is watched."""
        return hashlib.sha256("\n".join(watch.text for watch in self.watches).encode()).hexdigest()[:16]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What a file would say of all of them."""
        return [watch.entry for watch in self.watches]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What samples must hold, each once, in order of appearance."""
        return tuple(dict.fromkeys(metric for watch in self.watches for metric in watch.measure.metrics))

    @property
    def description(self) -> str:
        """The functions in a line, for messages."""
        return "; ".join(f"{watch.name} within {watch.bound:g}" for watch in self.watches)


def read_watches(path: str | Path) -> Watches:
    """Return the list in a TOML file.

    Raises:
        WrongWatches: There is none, or it holds something else; the text names the place and the way out.
    """
    try:
        text = Path(path).read_bytes()
        table = tomllib.loads(text.decode())
    except OSError as error:
        raise WrongWatches(f"cannot read {path}: {error.strerror}; give the TOML file with the [[watch]]es") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongWatches(f"{path} is no TOML: {error}") from error
    try:
        return watches_of(table)
    except WrongWatches as error:
        raise WrongWatches(f"{path}: {error}") from error


def watches_of(table: Mapping[str, Any]) -> Watches:
    """Return the list in what a TOML file says.

    Raises:
        WrongWatches: It holds something else.
    """
    unknown = sorted(set(table) - {"watch"})
    if unknown:
        raise WrongWatches(f"there is no {unknown[0]!r}; functions are given as [[watch]]")
    entries = table.get("watch")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise WrongWatches("nothing is watched; give at least one [[watch]]")
    if len(entries) > MOST_FUNCTIONS:
        raise WrongWatches(f"at most {MOST_FUNCTIONS} functions can be watched, got {len(entries)}")
    found: list[Watch] = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_watch(entry))
        except (WrongWatches, ValueError, TypeError) as error:
            raise WrongWatches(f"watch {number}: {error}") from error
        if any(found[-1].name == other.name for other in found[:-1]):
            raise WrongWatches(f"watch {number}: another one is called {found[-1].name!r}; give one of them a name")
    return Watches(tuple(found))


def _watch(entry: Mapping[str, Any]) -> Watch:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        raise WrongWatches(f"kind must be one of {', '.join(sorted(kinds()))}, got {kind!r}")
    arguments = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    measure = made(kind, arguments)
    bound = _number(entry, "bound", measure.bound)
    if bound is None:
        raise WrongWatches(f"{measure.name} needs a bound: how far off the answer may be, in {measure.unit or '1'}")
    name = entry.get("name", measure.name)
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise WrongWatches(f"name must be printable text of 1 to {NAME_LENGTH} characters, got {name!r}")
    window = entry.get("window", 1)
    if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= MOST_WINDOW:
        raise WrongWatches(f"window must be a whole number from 1 to {MOST_WINDOW}, got {window!r}")
    above, below = _number(entry, "above", None), _number(entry, "below", None)
    is_possible = entry.get("possible", False)
    if not isinstance(is_possible, bool) or (is_possible and above is None and below is None):
        raise WrongWatches(f"possible must be true or false, and goes with above or below, got {is_possible!r}")
    same = {"kind": kind, "arguments": arguments, "bound": bound, "name": name, "window": window}
    text = json.dumps(same, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Watch(replace(measure, name=name, bound=bound), window, above, below, is_possible, text)


def _number(entry: Mapping[str, Any], key: str, default: float | None) -> float | None:
    value = entry.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise WrongWatches(f"{key} must be a finite number, got {value!r}")
    return float(value)
