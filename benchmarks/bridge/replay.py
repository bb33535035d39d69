"""Replay a fleet through the bridge's protocol and through its rivals: reports, bytes and errors, without Flower."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull import Memory, PullCoordinator, step
from heflwr.flower.watch import wire

from .fleets import Rounds

Vectors = list[dict[int, Any]]
"""A round after the other: local vectors by node, of the nodes that were asked."""

FINGERPRINT = bytes(wire.FINGERPRINT_BYTES)


@dataclass(frozen=True)
class Outcome:
    """What watching a fleet in some way took, and how wrong it was.

    Attributes:
        name: Of the way.
        reports: Local vectors sent.
        replies: Those that telling in every reply would have sent.
        bytes: Of asks and replies; of vectors for the rivals.
        error: Largest difference from the truth over all rounds.
        bound: Largest bound that was told, where one was told; None for ways without.
        exceptions: Rounds in which the truth was beyond the bound that was told.
        within: Share of rounds in which the bound was what had been asked for.
    """

    name: str
    reports: int
    replies: int
    bytes: int
    error: float
    bound: float | None = None
    exceptions: int = 0
    within: float = 1.0


def vectors_of(measure: Measure, rounds: Rounds) -> Vectors:
    """Return every node's local vectors."""
    latest: dict[int, Any] = {}
    calls: dict[int, int] = {}
    found: Vectors = []
    for samples in rounds:
        for node, sample in samples.items():
            latest[node] = measure.following(latest.get(node), measure.vector(sample), calls.get(node, 0))
            calls[node] = calls.get(node, 0) + 1
        found.append({node: latest[node] for node in samples})
    return found


def with_bound(measure: Measure, rounds: Vectors, share: float) -> Measure:
    """Return the measure with a bound of that share of the mean of what is true."""
    truths = [abs(truth) for truth in _truths(measure, rounds)]
    return replace(measure, bound=share * float(np.mean(truths)))


def bridged(measure: Measure, rounds: Vectors) -> Outcome:
    """What the bridge does, ask by ask."""
    assert measure.bound is not None
    coordinator = PullCoordinator(measure.function, measure.bound, span=measure.span, is_total=measure.is_total)
    memories: dict[int, Memory] = {}
    reports = sent = exceptions = within = 0
    error = bound = 0.0
    for number, (vectors, truth) in enumerate(zip(rounds, _truths(measure, rounds), strict=True)):
        asked = {node: coordinator.ask(node) for node in vectors}
        for node, ask in asked.items():
            memory = memories.get(node) or Memory(int.from_bytes(os.urandom(4), "little") | 1)
            memories[node], reply = step(memory, ask, vectors[node])
            sent += sum(map(len, wire.asks_bytes(FINGERPRINT, [ask]))) + len(
                wire.replies_bytes(FINGERPRINT, 1 << 30, time.time_ns() // 1000, [reply])
            )
            reports += reply.vector is not None
            coordinator.receive(node, reply)
        answer = coordinator.settle(number)
        wrong = abs(answer.value - truth)
        error, bound = max(error, wrong), max(bound, answer.bound)
        exceptions += not wrong <= answer.bound + 1e-9 * max(1.0, abs(truth))
        within += answer.bound <= measure.bound * (1 + 1e-9)
    return Outcome("bridge", reports, _replies(rounds), sent, error, bound, exceptions, within / len(rounds))


def everyone(measure: Measure, rounds: Vectors) -> Outcome:
    """Every client tells its vector in every reply."""
    return _outcome("everyone", measure, rounds, lambda node, number, x, last: True)


def periodic(measure: Measure, rounds: Vectors) -> Outcome:
    """Every client tells in each k-th round, with the largest k that was within the bound: known afterwards only."""
    tried = (
        _outcome(f"every {k} rounds", measure, rounds, lambda node, number, x, last, k=k: number % k == 0)
        for k in range(1, len(rounds) + 1)
    )
    return _fewest(measure, tried)


def on_delta(measure: Measure, rounds: Vectors) -> Outcome:
    """A client tells when its vector is a delta from the last that it told, with the largest delta that would do.

    In the largest coordinate, in shares of how far that moves in the whole fleet; known afterwards only.
    """
    every = np.array([x for vectors in rounds for x in vectors.values()])
    scale = np.maximum(np.ptp(every, axis=0), 1e-12)
    tried = (
        _outcome(
            f"delta {delta:.3g}",
            measure,
            rounds,
            lambda node, number, x, last, d=delta: np.max(abs(x - last) / scale) > d,
        )
        for delta in [0.0, *np.geomspace(1e-3, 1.0, 40)]
    )
    return _fewest(measure, tried)


def _outcome(name: str, measure: Measure, rounds: Vectors, tells: Callable[..., Any]) -> Outcome:
    known: dict[int, Any] = {}
    reports, error = 0, 0.0
    for number, (vectors, truth) in enumerate(zip(rounds, _truths(measure, rounds), strict=True)):
        for node, x in vectors.items():
            if node not in known or tells(node, number, x, known[node]):
                known[node], reports = x, reports + 1
        error = max(error, abs(_value(measure, known) - truth))
    return Outcome(name, reports, _replies(rounds), reports * 8 * measure.dim, error)


def _fewest(measure: Measure, tried: Iterable[Outcome]) -> Outcome:
    fits = [one for one in tried if one.error <= (measure.bound or math.inf) * (1 + 1e-9)]
    return min(fits, key=lambda one: one.reports)


def _truths(measure: Measure, rounds: Vectors) -> list[float]:
    latest: dict[int, Any] = {}
    truths = []
    for vectors in rounds:
        latest |= vectors
        truths.append(_value(measure, latest))
    return truths


def _value(measure: Measure, vectors: dict[int, Any]) -> float:
    value = float(measure.function.value(np.mean(list(vectors.values()), axis=0)))
    return value * (len(vectors) if measure.is_total else 1)


def _replies(rounds: Vectors) -> int:
    return sum(map(len, rounds))
