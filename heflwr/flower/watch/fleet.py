"""What the server knows of the fleet: an answer a watched function, what it took, and what went wrong."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from heflwr.automon.answer import Answer
from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull.coordinator import LEASE
from heflwr.flower.watch import checkpoint as checkpoints
from heflwr.flower.watch import watched
from heflwr.flower.watch.faults import Faults
from heflwr.flower.watch.lines import Line, Settled, Traffic
from heflwr.monitor import arguments

Sync = Literal["piggyback", "query"]
SYNCS: tuple[Sync, ...] = ("piggyback", "query")

LOG_MOST = 100_000
"""Settled answers that are kept, of all functions together; the oldest go first."""


class Fleet(Mapping[str, Answer]):
    """Answers by the functions' names, as of the latest round; may be asked from any thread, at any time.

    Before the first round is over a value is NaN and its bound infinite.

    Attributes:
        measures: What is watched.
        kinds: Types of message that ask for a local vector.
        sync: See `__init__`.
        lease: See `__init__`.
    """

    def __init__(
        self,
        watch: Iterable[Measure],
        *,
        kinds: Iterable[str] = ("train",),
        sync: Sync = "piggyback",
        lease: int = LEASE,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        """Watch functions of the fleet.

        Args:
            watch: Measures of `heflwr.automon.fleet`, each with a bound; the same list as on the clients.
            kinds: Types of message whose calls count: each is one local vector of its node.
            sync: "piggyback": nothing is sent for our sake. "query": where an answer is wider than its bound after a
                round, nodes that have an old zone are asked at once; one more round trip, at most one a round.
            lease: Replies in a row that a node may owe before it is lost.
            checkpoint: A file that holds the state; written after each round, read when a run begins.

        Raises:
            TypeError, ValueError: A list that is none, or an option out of range.
        """
        self.measures = watched.listed(watch)
        if isinstance(kinds, str):
            raise TypeError(f"kinds must be a list of message types, got the text {kinds!r}; write ({kinds!r},)")
        self.kinds = tuple(kinds)
        if not self.kinds or not all(isinstance(kind, str) and kind for kind in self.kinds):
            raise ValueError(f'kinds must name message types such as "train", got {self.kinds!r}')
        self.sync = arguments.choice("sync", sync, SYNCS)
        self.fingerprint = watched.fingerprint(self.measures)
        self.lease = arguments.integer("lease", lease, 1, 10**6)
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self.lock = threading.RLock()
        self.lines = [Line.of(measure, self.lease) for measure in self.measures]
        self.dims = [measure.dim for measure in self.measures]
        self._log: deque[Settled] = deque(maxlen=LOG_MOST)
        self._faults = Faults()
        self._listeners: list[Callable[[list[Settled]], object]] = []
        self._other_bytes = [0, 0]
        self.queries = 0
        """Messages that were sent for our sake alone."""

    # For users

    def __getitem__(self, name: str) -> Answer:
        for line in self.lines:
            if line.measure.name == name:
                return line.answer
        raise KeyError(f"{name!r} is not watched; watched are {', '.join(map(repr, self))}")

    def __iter__(self) -> Iterator[str]:
        return iter([line.measure.name for line in self.lines])

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def answers(self) -> dict[str, Answer]:
        """The answers as they are now, by name."""
        with self.lock:
            return {line.measure.name: line.answer for line in self.lines}

    @property
    def traffic(self) -> dict[str, Traffic]:
        """What each function took, by name."""
        with self.lock:
            return {line.measure.name: replace(line.traffic) for line in self.lines}

    @property
    def reports(self) -> int:
        """Local vectors that came, of all functions."""
        return sum(traffic.reports for traffic in self.traffic.values())

    @property
    def replies(self) -> int:
        """Vectors that would have come, of all functions, if every node told them in each of its replies."""
        return sum(traffic.replies for traffic in self.traffic.values())

    @property
    def bytes_sent(self) -> int:
        """Of our records on the messages."""
        return self._other_bytes[0] + sum(traffic.bytes_sent for traffic in self.traffic.values())

    @property
    def bytes_received(self) -> int:
        """Of our records on the replies."""
        return self._other_bytes[1] + sum(traffic.bytes_received for traffic in self.traffic.values())

    @property
    def log(self) -> tuple[Settled, ...]:
        """Every settled answer, oldest first, the last `LOG_MOST`."""
        with self.lock:
            return tuple(self._log)

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong, in words, and how often; nothing of it cost the run a result."""
        return self._faults.times

    @property
    def last_fault(self) -> str:
        """The latest, with the node it came from; "" where there was none."""
        return self._faults.last

    def listen(self, callback: Callable[[list[Settled]], object]) -> None:
        """Have `callback` called with what was settled after each round, an item a function, in the grid's thread.

        What it raises is counted in `faults`.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"a listener is a function of a list of Settled, got {callback!r}")
        with self.lock:
            self._listeners.append(callback)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what has to survive a restart of the server to a file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        with self.lock:
            arrays = checkpoints.to_arrays(self.fingerprint, self.lines)
        checkpoints.write(Path(path), arrays)

    # For the bridge

    def begin(self) -> None:
        """A run begins: go on from the checkpoint, where there is one of this list."""
        if self._checkpoint is None:
            return
        try:
            with self.lock:
                checkpoints.restore(self._checkpoint, self.fingerprint, self.lines)
        except Exception as error:
            self.fault(f"checkpoint: {error}")

    def add_bytes(self, sent: int = 0, received: int = 0) -> None:
        """Count bytes that are no function's own."""
        with self.lock:
            self._other_bytes[0] += sent
            self._other_bytes[1] += received

    def publish(self, round: int, answers: list[Answer]) -> None:
        """A round is over: show its answers, call the alerts and listeners that are due, write the checkpoint."""
        now = time.time()
        with self.lock:
            settled = [line.settle(round, now, answer) for line, answer in zip(self.lines, answers, strict=True)]
            self._log.extend(settled)
            listeners = tuple(self._listeners)
        for line, answer in zip(self.lines, answers, strict=True):
            for error in line.watchman.look(answer):
                self.fault(f"an alert of {line.measure.name}: {type(error).__name__}: {error}")
        for listener in listeners:
            try:
                listener(settled)
            except Exception as error:
                self.fault(f"a listener: {type(error).__name__}: {error}")
        if self._checkpoint is not None:
            try:
                self.save(self._checkpoint)
            except Exception as error:
                self.fault(f"checkpoint: {type(error).__name__}: {error}")

    def fault(self, text: str, node: int | None = None) -> None:
        """Count something that went wrong, and log the first of its kind."""
        self._faults.add(text, node)

    @property
    def has_news(self) -> bool:
        """Whether a run has used this."""
        return bool(self._log or self.faults or self.bytes_sent)
