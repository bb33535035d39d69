"""What no protocol of a kind can beat: the fewest messages that the data themselves ask for, known in hindsight.

A run falls into windows between two messages. In one, the answer stands still; and with static local constraints every
mixture of what the nodes held there, one vector a node, would have passed as silently as what did happen. Either way f
may vary by 2 error_bound at most within a window, and what can be said of a window can be said of any part of it, so
filling windows greedily needs the fewest. n first reports, and then a message at least between two windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from heflwr.automon.arguments import check_error_bound

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import Floats, Indices

ROUNDING = 1e-12
"""A window is given up only past 2 error_bound by this much of f: rounding must not raise a lower bound."""

RESTARTS = 2
"""Random choices that a search begins from anew, each time a window has grown by half."""

MOST_SWEEPS = 10
"""Times that all nodes' choices are gone through in one ascent; it seldom takes more than three."""

HIGHEST_AND_LOWEST = np.array([1.0, -1.0])


def lower_bound_info(function: Function, data: Floats, error_bound: float) -> int:
    """The fewest messages of any protocol whose answer is constant between messages: n - 1 and the number of windows.

    Holds for whatever keeps every round's error within the bound: centralization, periodic reports, all of ours.

    Args:
        function: What is monitored.
        data: (rounds, nodes, dim), as for `simulate`.
        error_bound: > 0.
    """
    data = _checked(function, data, error_bound)
    values = np.asarray(function.values(data.mean(axis=1)), dtype=np.float64)
    return int(data.shape[1]) - 1 + _windows(len(data), lambda first: _Answers(values, first, error_bound))


def lower_bound_filter(function: Function, data: Floats, error_bound: float, *, seed: int = 0) -> int:
    """The fewest messages of any protocol of static local constraints that guarantee the bound: at least LB_info.

    Exact where f is linear. Elsewhere a local search (each node's vector in turn, over all that it held in the window)
    looks for two mixtures too far apart; where it misses them a window is taken for longer than it can be, so the
    count stays a lower bound.

    Args:
        function: What is monitored.
        data: (rounds, nodes, dim), as for `simulate`.
        error_bound: > 0.
        seed: Of the search's restarts.
    """
    data = _checked(function, data, error_bound)
    rounds, nodes = int(data.shape[0]), int(data.shape[1])
    if function.is_linear:
        heights = data @ function.gradient(data[0, 0])
        return nodes - 1 + _windows(rounds, lambda first: _LinearMixtures(heights, first, error_bound))
    values = np.asarray(function.values(data.mean(axis=1)), dtype=np.float64)
    random = np.random.default_rng(seed)
    return nodes - 1 + _windows(rounds, lambda first: _Mixtures(function, data, values, first, error_bound, random))


class _Window(Protocol):
    def admits(self, at: int) -> bool:
        """Whether round `at`, the next one, can still belong to the window."""


def _windows(rounds: int, begin: Callable[[int], _Window]) -> int:
    """How many windows it takes to cover all rounds, each as long as can be."""
    count, window = 1, begin(0)
    for at in range(1, rounds):
        if not window.admits(at):
            count, window = count + 1, begin(at)
    return count


class _Answers:
    """The values of f at the true means of a window."""

    def __init__(self, values: Floats, first: int, error_bound: float) -> None:
        self._values, self._error_bound = values, error_bound
        self._highest = self._lowest = values[first]

    def admits(self, at: int) -> bool:
        self._highest, self._lowest = max(self._highest, self._values[at]), min(self._lowest, self._values[at])
        return _is_within(self._lowest, self._highest, self._error_bound)


class _LinearMixtures:
    """A linear f: it is highest where each node's own share is."""

    def __init__(self, heights: Floats, first: int, error_bound: float) -> None:
        self._heights, self._error_bound = heights, error_bound
        self._highest = self._lowest = heights[first]

    def admits(self, at: int) -> bool:
        self._highest = np.maximum(self._highest, self._heights[at])
        self._lowest = np.minimum(self._lowest, self._heights[at])
        return _is_within(float(self._lowest.mean()), float(self._highest.mean()), self._error_bound)


class _Mixtures:
    """The highest and the lowest f found over means of one vector a node, each from any round of the window."""

    def __init__(
        self,
        function: Function,
        data: Floats,
        values: Floats,
        first: int,
        error_bound: float,
        random: np.random.Generator,
    ) -> None:
        self._function, self._data, self._values, self._random = function, data, values, random
        self._error_bound = error_bound
        self._first = self._last = first
        self._nodes = np.arange(data.shape[1])
        self._choice = np.full((2, data.shape[1]), first)
        self._best = HIGHEST_AND_LOWEST * values[first]
        self._restart_at = 2

    def admits(self, at: int) -> bool:
        self._last = at
        # The true mean is a mixture too, and a sound one to climb on from.
        is_better = HIGHEST_AND_LOWEST * self._values[at] > self._best
        self._choice[is_better] = at
        self._best = np.where(is_better, HIGHEST_AND_LOWEST * self._values[at], self._best)
        if not self._is_within():
            return False
        if self._swap_in(at) or is_better.any():
            if not self._is_within():
                return False
            self._choice, self._best = self._climbed(self._choice, self._best)
            if self._is_within():
                self._try(self._along_gradient())
        size = at - self._first + 1
        if size >= self._restart_at:
            self._restart_at = size + (size + 1) // 2
            for _ in range(RESTARTS):
                if self._is_within():
                    self._try(self._random.integers(self._first, at + 1, self._choice.shape))
        return self._is_within()

    def _is_within(self) -> bool:
        return _is_within(-self._best[1], self._best[0], self._error_bound)

    def _sums(self, choice: Indices) -> Floats:
        sums: Floats = self._data[choice, self._nodes].sum(axis=1)
        return sums

    def _signed(self, sums: Floats) -> Floats:
        """Values of f for the highest, of -f for the lowest, of means given by their sums (2, k, d); -inf for NaN."""
        values = self._function.values((sums / len(self._nodes)).reshape(-1, sums.shape[-1])).reshape(2, -1)
        signed = HIGHEST_AND_LOWEST[:, None] * values
        return np.where(np.isnan(signed), -np.inf, signed)

    def _swap_in(self, at: int) -> bool:
        """Lets one node after another hold its newest vector where that helps; whether any did."""
        is_better = False
        for _ in self._nodes:
            held = self._data[self._choice, self._nodes]
            sums = held.sum(axis=1)[:, None, :] - held + self._data[at]
            signed = self._signed(sums)
            node = signed.argmax(axis=1)
            improved = np.flatnonzero(signed.max(axis=1) > self._best)
            if improved.size == 0:
                break
            self._choice[improved, node[improved]] = at
            self._best[improved] = signed.max(axis=1)[improved]
            is_better = True
        return is_better

    def _climbed(self, choice: Indices, best: Floats) -> tuple[Indices, Floats]:
        """The choices after going through the nodes, each free to hold any vector of the window, until none moves."""
        choice, best = choice.copy(), best.copy()
        window = self._data[self._first : self._last + 1]
        for _ in range(MOST_SWEEPS):
            before = best.copy()
            for node in self._nodes:
                others = self._sums(choice) - self._data[choice[:, node], node]
                signed = self._signed(others[:, None, :] + window[:, node])
                improved = np.flatnonzero(signed.max(axis=1) > best)
                choice[improved, node] = self._first + signed.argmax(axis=1)[improved]
                best[improved] = signed.max(axis=1)[improved]
            if not (best > before).any():
                break
        return choice, best

    def _along_gradient(self) -> Indices:
        """Every node's vector furthest along the gradient, and furthest against it."""
        window = self._data[self._first : self._last + 1]
        heights = window @ self._function.gradient(self._sums(self._choice[:1])[0] / len(self._nodes))
        return self._first + np.stack([heights.argmax(axis=0), heights.argmin(axis=0)])

    def _try(self, choice: Indices) -> None:
        """Climbs from another start and keeps what is better."""
        choice, best = self._climbed(choice, self._signed(self._sums(choice)[:, None, :])[:, 0])
        is_better = best > self._best
        self._choice[is_better], self._best[is_better] = choice[is_better], best[is_better]


def _is_within(lowest: float, highest: float, error_bound: float) -> bool:
    return bool(highest - lowest <= 2 * error_bound + ROUNDING * max(1.0, abs(lowest), abs(highest)))


def _checked(function: Function, data: Floats, error_bound: float) -> Floats:
    check_error_bound(error_bound)
    array = np.ascontiguousarray(data, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != function.dim or 0 in array.shape:
        raise ValueError(f"data must have shape (rounds, nodes, {function.dim}), got {array.shape}")
    return array
