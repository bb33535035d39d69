"""How good the model was after each round: the server's own word for it, else the clients' weighted by examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from heflwr.flower.entry import Entry

SERVER = "server"

KINDS = ("evaluate", "train")
"""Whose replies tell, the first that has an accuracy. Training's own is of data that the client has just learned."""

_NAME = "accuracy"
_ENDINGS = ("acc", "accuracy")

_LARGEST_PERCENT = 100.0
"""What is beyond, or below its negative, is no accuracy: a mean must not be spoilt by a client that says so."""

_LAST_ROUND = 2**53
"""What is beyond, or below 0, is no number of a round."""

WEIGHTS = ("num-examples", "num_examples")
"""What Flower's strategies weigh by, and what its legacy clients call it."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A run's accuracy by round.

    Attributes:
        metric: Its name.
        source: "server", "evaluate" or "train".
        percent: By round in rising order, percent, finite; never empty.
    """

    metric: str
    source: str
    percent: Mapping[int, float]

    @property
    def first_round(self) -> int:
        """The first round with a value; 0 where the server noted one from before the first round."""
        return next(iter(self.percent))

    @property
    def best_round(self) -> int:
        """The first round with the highest value."""
        return max(self.percent, key=lambda number: (self.percent[number], -number))

    @property
    def gained_points(self) -> float:
        """Percentage points from the first value to the best, >= 0."""
        return self.percent[self.best_round] - self.percent[self.first_round]


def accuracy_of(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]]) -> Accuracy | None:
    """Return the accuracy of the common model by round, or None where nobody told one.

    The metric is the one named "accuracy", else the first whose name ends with "acc" or "accuracy". Where the server
    noted such a metric, its rounds are what counts; else the replies of `KINDS`, a round's mean weighted by
    num-examples (all alike where one reply has none). Values up to 1 are taken for shares and become percent; those
    that are neither are left out.

    Args:
        entries: Messages; those that belong to no round are left out.
        scores: What the server noted, by round.
    """
    found = _accuracy_in(SERVER, [(number, metrics, 1.0) for number, metrics in sorted(scores.items())])
    for kind in KINDS:
        found = found or _accuracy_in(
            kind,
            [
                (entry.round, entry.metrics, weight_of(entry.metrics))
                for entry in entries
                if entry.metrics and entry.round > 0 and entry.kind.partition(".")[0] == kind
            ],
        )
    return found


def _accuracy_in(source: str, told: Sequence[tuple[int, Mapping[str, float], float]]) -> Accuracy | None:
    metric = _metric((name for _, metrics, _ in told for name in metrics))
    if metric is None:
        return None
    rounds: dict[int, list[tuple[float, float]]] = {}
    for number, metrics, weight in told:
        value = metrics.get(metric)
        if not 0 <= number <= _LAST_ROUND:
            continue
        if value is not None and _is_possible(value):
            rounds.setdefault(number, []).append((value, weight))
    means = {number: weighted_mean(rounds[number]) for number in sorted(rounds)}
    if not means:
        return None
    scale = 100.0 if max(map(abs, means.values())) <= 1 else 1.0
    return Accuracy(metric, source, {number: scale * mean for number, mean in means.items()})


def impossible(entries: Iterable[Entry], scores: Mapping[int, Mapping[str, float]]) -> int:
    """Return how many values of metrics that are called an accuracy can be none."""
    told = (*scores.values(), *(entry.metrics for entry in entries if entry.metrics))
    return sum(
        not _is_possible(value)
        for metrics in told
        for name, value in metrics.items()
        if name.lower().endswith(_ENDINGS)
    )


def _is_possible(value: object) -> bool:
    return isinstance(value, (int, float)) and -_LARGEST_PERCENT <= value <= _LARGEST_PERCENT


def _metric(names: Iterable[str]) -> str | None:
    """Return the name of the accuracy among names in the order in which they were told."""
    chosen = None
    for name in names:
        if name == _NAME:
            return name
        if chosen is None and name.lower().endswith(_ENDINGS):
            chosen = name
    return chosen


def weight_of(metrics: Mapping[str, float]) -> float:
    """Return the number of examples behind a reply, NaN where it is not told."""
    return next((float(metrics[name]) for name in WEIGHTS if name in metrics), math.nan)


def weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    """Return the mean of one or more (value, weight); all weigh alike where these weights cannot be used."""
    total = sum(weight for _, weight in values)
    if not 0 < total < math.inf or any(weight < 0 for _, weight in values):
        return sum(value for value, _ in values) / len(values)
    return sum(value * (weight / total) for value, weight in values)
