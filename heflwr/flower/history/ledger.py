"""What a run cost: a line a message, and what follows from them."""

from __future__ import annotations

import logging
import operator
import os
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heflwr.flower.entry import Entry
from heflwr.flower.history import files, picture, summary, tables
from heflwr.flower.history.compact import Compactor
from heflwr.flower.history.contents import Contents
from heflwr.flower.history.ranking import Rankings

if TYPE_CHECKING:
    import pandas

_logger = logging.getLogger("heflwr.flower")

FAULT_LENGTH = 300
"""How much is kept of what a failure said: it may quote what came over a network."""

_FAULT_FRAMES = 20
"""How much of its traceback is logged."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the run cost besides the clients' calls; everything in seconds of CPU time but `seconds`.

    Attributes:
        seconds: Wall time since the run began.
        cpu_seconds: The ServerApp's process and all its children; in a simulation Ray and its workers are among them.
        clients_cpu_seconds: Clients' calls that ran in those children (0 in a deployment).
        startup_cpu_seconds: Those children's start-up, before their first call.
        idle_cpu_seconds: Those children between calls.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    clients_cpu_seconds: float = 0.0
    startup_cpu_seconds: float = 0.0
    idle_cpu_seconds: float = 0.0

    @property
    def overhead_cpu_seconds(self) -> float:
        """CPU time that no client's call used: the server's own, Flower's and Ray's."""
        return max(0.0, self.cpu_seconds - self.clients_cpu_seconds)


class History:
    """Every message of a run with its cost, safe to use from any thread while the run goes on.

    It can be pickled and copied, without those who listen.

    Attributes:
        overhead: What the run cost besides the clients' calls.
        bad_lines: Lines that load() left out: torn by a crash, or not ours.
    """

    def __init__(self) -> None:
        self.overhead = Overhead()
        self.bad_lines = 0
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._compactor = Compactor()
        self._rankings = Rankings(self._entries)
        self._scores: dict[int, dict[str, float]] = {}
        self._listeners: list[Callable[[Entry], object]] = []
        self._faults: dict[str, int] = {}
        self._last_fault = ""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The messages so far, in the order in which they were answered or given up."""
        with self._lock:
            return tuple(self._entries)

    @property
    def scores(self) -> dict[int, dict[str, float]]:
        """The server's own metrics by round, as note() took them."""
        with self._lock:
            return {number: dict(metrics) for number, metrics in self._scores.items()}

    @property
    def faults(self) -> dict[str, int]:
        """How often each part of heflwr failed in this run; no failure cost the run a result."""
        with self._lock:
            return dict(self._faults)

    @property
    def last_fault(self) -> str:
        """What the last failure was, "" where there was none."""
        with self._lock:
            return self._last_fault

    def add(self, entry: Entry) -> None:
        """Take one more message in, and tell those who listen. Does not raise what they raise."""
        with self._lock:
            self._entries.append(self._compactor.compact(entry))
            listeners = tuple(self._listeners)
        for callback in listeners:
            try:
                callback(entry)
            except Exception as error:  # a listener must not end the federation
                self.fault("listener", error)

    def listen(self, callback: Callable[[Entry], object]) -> None:
        """Have `callback` called with each message from now on, in the thread that adds it.

        What it raises is counted in `faults`. It may use the history, also add to it.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"a listener is a function of an entry, got {callback!r}")
        with self._lock:
            self._listeners.append(callback)

    def note(self, round: int, /, **metrics: float) -> None:
        """Note the server's own metrics of a round for summary() and plot(), for example `note(3, accuracy=0.91)`.

        Args:
            round: 1, 2, ...; 0 for what was before the first.
            metrics: Numbers by name; a later one of the same name and round replaces the earlier.

        Raises:
            TypeError, ValueError: What is no number; then nothing is noted.
        """
        number = operator.index(round)
        noted = {name: float(value) for name, value in metrics.items()}
        with self._lock:
            self._scores.setdefault(number, {}).update(noted)

    def fault(self, part: str, error: BaseException | str) -> None:
        """Count a failure of heflwr itself, and log the first of each part. Never raises.

        Args:
            part: Which, in few words.
            error: What happened.
        """
        try:
            what = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        except Exception:  # an exception that cannot even say what it is
            what = type(error).__name__
        what = what[:FAULT_LENGTH]
        with self._lock:
            is_first = part not in self._faults
            self._faults[part] = self._faults.get(part, 0) + 1
            self._last_fault = f"{part}: {what}"
        if is_first:
            frames = traceback.format_tb(error.__traceback__, _FAULT_FRAMES) if isinstance(error, BaseException) else []
            _logger.warning("%s failed, the run goes on: %s", part, "\n".join([what, *frames]).rstrip())

    def records(self) -> list[dict[str, Any]]:
        """Return a flat mapping a message (see `Entry.record`)."""
        return [entry.record() for entry in self.entries]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with a row a message and the columns of records(); NaN where a number is missing.

        Raises:
            ImportError: pandas is not installed.
        """
        return tables.to_pandas(self.entries)

    def summary(self) -> dict[str, Any]:
        """Return what the run cost, in plain numbers; None where nobody measured it. Never raises.

        Returns:
            By key; costs below 0 and beyond `cost.LARGEST` count as not measured.

            - rounds, nodes: How many there were.
            - messages, reports, errors, lost: Messages; replies with a report; errors; those without an answer.
            - wall_seconds: From the first message sent to the last reply received.
            - call_seconds, cpu_seconds, energy_joules: Sums over all calls that measured them.
            - memory_peak_bytes: The highest of all calls.
            - bytes_sent, bytes_received: Records of the messages and of the replies, as the server saw them.
            - slowest_node, slowest_name: The node with the most call seconds in all.
            - straggler_ratio: Its call seconds over those of the median node.
            - energy_joules_per_round: Mean over the rounds that have any.
            - accuracy: None without such a metric (see `learning.accuracy_of`), else metric and source (its name, and
              who told: "server", "evaluate" or "train"), first_percent, best_percent, best_round, gained_points
              (best less first), percent_per_round (by round), and cpu_seconds_per_point and energy_joules_per_point:
              what was spent after the first value's round and up to the best one's, a percentage point gained.
            - per_round: By round, 0 for messages that belong to none: messages to bytes_received as above, and
              slowest_node, slowest_name and straggler_ratio of the kind of message that held the round up longest.
            - per_node: By node id: name, and messages to bytes_received as above.
            - overhead: The fields of `Overhead`, and overhead_cpu_seconds.
            - faults, last_fault: As the attributes of the history.
        """
        overhead = self.overhead
        return summary.summarize(self.entries, self.scores) | {
            "overhead": asdict(overhead) | {"overhead_cpu_seconds": overhead.overhead_cpu_seconds},
            "faults": self.faults,
            "last_fault": self.last_fault,
        }

    def rank(
        self, metric: str, *, kind: str = "train", last: int | None = None, nodes: Iterable[int] | None = None
    ) -> list[tuple[int, float | None]]:
        """Return nodes with the mean of what a call cost them, cheapest first.

        Nodes that were never measured come before all others, with None, those first that were asked least often: so a
        strategy that takes the first of the list gets to know every node. What one call has reckoned the next one with
        the same arguments goes on with: asked in every round, all calls together look at each message once.

        Args:
            metric: A column (see `cost.COLUMNS`), or a word for one: "energy" (energy_joules), "cpu" (cpu_seconds),
                "memory" (memory_peak_bytes), "network" (bytes sent and received).
            kind: Type of message; "train" takes "train.warm_up" as well.
            last: Only so many of a node's latest measured calls; default all.
            nodes: Ids of the nodes to rank; default those that the history knows.

        Raises:
            ValueError: An unknown metric, or a `last` below 1.
            TypeError: A `last` that is no whole number.
        """
        last = None if last is None else operator.index(last)
        chosen = None if nodes is None else list(nodes)  # may ask this history while it goes on
        with self._lock:
            return self._rankings.rank(metric, kind=kind, last=last, nodes=chosen)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history to a file, whole or not at all; one of that name is replaced.

        JSON lines and Parquet keep everything. CSV keeps the messages, but not scores, overhead and faults. Both tables
        have only the columns of `cost.COLUMNS`.

        Args:
            path: Ends in .jsonl, .csv or .parquet; the directory is created where there is none.

        Raises:
            ValueError: Another ending.
            ImportError: .parquet without pyarrow.
            OSError: It cannot be written.
        """
        files.save(self.contents(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """Return the history in a file of save() or `HistoryFile`, whatever its ending; of several runs, the newest.

        Lines that are torn or not ours are left out and counted in `bad_lines`.

        Raises:
            OSError: It cannot be read.
            ValueError: It is no history, or one of a later heflwr.
            ImportError: It is Parquet, and pyarrow is not installed.
        """
        contents = files.load(path)
        history = cls()
        history._take(contents)
        return history

    def _take(self, contents: Contents) -> None:
        """Become the history that this came from."""
        self._entries += map(self._compactor.compact, contents.entries)
        self._scores = contents.scores
        known = {field.name for field in fields(Overhead)}
        self.overhead = Overhead(**{name: value for name, value in contents.overhead.items() if name in known})
        self._faults, self._last_fault = contents.faults, contents.last_fault
        self.bad_lines = contents.bad_lines

    def contents(self) -> Contents:
        """Return all that a file keeps, as it stands now."""
        overhead = self.overhead
        return Contents(
            list(self.entries),
            self.scores,
            asdict(overhead) if overhead != Overhead() else {},
            self.faults,
            self.last_fault,
            self.bad_lines,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle keeps."""
        return {"contents": self.contents()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a pickle kept."""
        self.__init__()  # type: ignore[misc]
        self._take(state["contents"])

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the run: who computed when, and what it took of CPU, memory and energy; accuracy against cost.

        Args:
            path: The picture; its ending says the format, png, svg or pdf; its directory is created.

        Raises:
            ImportError: matplotlib is not installed.
            OSError: The file cannot be written.
            ValueError: matplotlib does not know the format, or the history is empty.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        picture.draw(self.entries, self.scores, path)
