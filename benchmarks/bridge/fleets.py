"""Fleets to replay: what each node measured in each round in which it was asked, recorded or drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heflwr.flower import History

Rounds = list[dict[int, dict[str, float]]]
"""A round after the other: samples by node; nodes that were not asked are not there."""


def recorded(path: Path, *, warm_up: int = 1) -> Rounds:
    """Return the fleet of a saved history, each node's first calls left out."""
    seen: dict[int, int] = {}
    rounds: dict[int, dict[int, dict[str, float]]] = {}
    for entry in sorted(History.load(path).entries, key=lambda entry: entry.round):
        if entry.kind == "train" and entry.cost:
            seen[entry.node] = seen.get(entry.node, 0) + 1
            if seen[entry.node] > warm_up:
                rounds.setdefault(entry.round, {})[entry.node] = dict(entry.cost)
    if not rounds:
        raise ValueError(f"no call was measured in {path}")
    return [rounds[number] for number in sorted(rounds)]


def drawn(kind: str, *, nodes: int, rounds: int, fraction: float = 1.0, seed: int = 0) -> Rounds:
    """Return a fleet that never was.

    Args:
        kind: "steady": every node at a level of its own with 2 % of noise; "drifting": levels that walk; "hostile":
            a new level for every node in every round, which no zone can hold.
        nodes: How many.
        rounds: How many.
        fraction: Of the nodes that are asked in a round.
        seed: Of all that is drawn.
    """
    random = np.random.default_rng(seed)
    level = random.uniform(10.0, 60.0, nodes)
    found: Rounds = []
    for _ in range(rounds):
        if kind == "drifting":
            level = np.clip(level + random.normal(0.0, 0.5, nodes), 1.0, 99.0)
        if kind == "hostile":
            level = random.uniform(0.0, 100.0) * random.uniform(0.2, 1.0, nodes)
        cpu = np.clip(level * (1 + random.normal(0.0, 0.02, nodes)), 0.0, 100.0)
        asked = sorted(random.choice(nodes, max(1, round(fraction * nodes)), replace=False).tolist())
        found.append({node: {"cpu_usage": float(cpu[node]), "seconds": float(1 + cpu[node] / 50)} for node in asked})
    return found
