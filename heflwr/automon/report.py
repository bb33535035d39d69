"""What a simulated run cost, how far off its answers were, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.zones.zone import Floats


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of `simulate`.

    Messages are unicast, in both directions. The first sync counts one constraint a node; the nodes' first reports,
    which every method needs alike, are left out.
    """

    protocol: str
    error_bound: float
    nodes: int
    rounds: int
    messages: int
    messages_by_kind: Mapping[str, int]
    """Keys: violation, request, vector, constraint, slack."""
    violations_by_kind: Mapping[str, int]
    """Keys: safe_zone, neighbourhood, faulty."""
    payload_bytes: int
    messages_by_round: Floats
    """(rounds,): how many messages each round took."""
    estimates: Floats
    """(rounds,): the answer once the round is quiet."""
    true_values: Floats
    """(rounds,): f of the true mean."""
    full_syncs: int
    lazy_syncs: int
    guarantee: Guarantee
    reason: str
    """Why `guarantee` holds, in words."""
    coordinator_seconds: float
    node_seconds: float
    radius: float | None = None
    """The neighbourhood's last radius, where the protocol has one."""

    @property
    def errors(self) -> Floats:
        """(rounds,): how far the estimate is from the true value, >= 0."""
        return np.abs(self.true_values - self.estimates)

    @property
    def max_error(self) -> float:
        """The largest error of any round."""
        return float(self.errors.max())

    @property
    def mean_error(self) -> float:
        """The mean error over the rounds."""
        return float(self.errors.mean())

    @property
    def bound_violations(self) -> int:
        """Rounds whose quiescent error exceeds the bound; an error that is not a number exceeds it."""
        return int((~(self.errors <= self.error_bound)).sum())

    @property
    def centralization(self) -> int:
        """Messages if every node reported every round."""
        return self.nodes * self.rounds

    def plot(self, path: str | Path) -> None:
        """Draws the value, its band, the estimate, and the messages sent against centralization's.

        Args:
            path: Where to write; the suffix chooses the format.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # drawing is optional, and slow to import
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 6), layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True)
        rounds = np.arange(self.rounds)
        above.fill_between(
            rounds,
            self.estimates - self.error_bound,
            self.estimates + self.error_bound,
            alpha=0.25,
            label=f"estimate ± {self.error_bound:g} ({self.guarantee.value})",
        )
        above.plot(rounds, self.estimates, label="estimate", drawstyle="steps-post")
        above.plot(rounds, self.true_values, label="f(mean)", linewidth=1)
        above.set_ylabel("value")
        above.legend()
        below.plot(rounds, np.cumsum(self.messages_by_round), label=f"{self.protocol}: {self.messages}")
        below.plot(rounds, self.nodes * (rounds + 1), label=f"centralization: {self.centralization}", linestyle="--")
        below.set_ylabel("messages so far")
        below.set_xlabel("round")
        below.legend()
        figure.savefig(path)
