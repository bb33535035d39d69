"""Shows a run on stderr while it goes on: a table in place on a terminal, a line a batch of messages elsewhere."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from heflwr import quantities
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
from heflwr.flower.server import wording
from heflwr.flower.server.pinned import CLOSE_SECONDS, PinnedLines, is_taken
from heflwr.flower.server.progress import Batch, Progress, View
from heflwr.monitor import arguments

if TYPE_CHECKING:
    from heflwr.flower.server.screen import Screen

TICK_SECONDS = 0.25
"""Between looks whether there is something new to draw: four times a second is as fast as a table can be read."""

CLOCK_SECONDS = 1.0
"""Between drawings where nothing is new but the time."""

COST_SHARE = 0.05
"""Of one core, the most that drawing may take: a slow drawing makes the next one wait longer."""

FAILED_SECONDS = 5.0
"""After a drawing that failed, to the next: each is counted as a fault."""

WITHOUT_RICH = "a line a batch of messages; for a live table: pip install 'heflwr[console]'"


class Console:
    """Shows what every node's last call cost, slowest first, and how far the round is.

    The table is drawn at most four times a second, and what Flower logs or the app prints appears above it (see
    `server.pinned`). There is no table, but a line a batch of messages, where stderr is no terminal, where the
    environment says CI, where Flower passes the output on (`flwr run --stream`), and without rich.
    """

    def __init__(self, *, rounds: int | None = None, stream: IO[str] | None = None) -> None:
        """Remember what to show.

        Args:
            rounds: How many there will be, where one knows: the title says "round 3 of 10".
            stream: Where to; default sys.stderr as it is when the run begins.

        Raises:
            TypeError, ValueError: `rounds` is no whole number, or below 1; `stream` is none.
        """
        if stream is not None and not hasattr(stream, "write"):
            raise TypeError(f"stream must be an open text file, got {stream!r} ({type(stream).__name__})")
        self._rounds = rounds if rounds is None else arguments.integer("rounds", rounds, 1, sys.maxsize)
        self._given_stream = stream
        self._live: _Live | None = None
        self._is_open = False

    def open(self, history: History) -> None:
        self.close()
        self._stream = sys.stderr if self._given_stream is None else self._given_stream
        self._progress = Progress(history)
        self._live = self._begin_live(history)
        self._is_open = True

    def sent(self, kind: str, round: int, nodes: int) -> None:
        self._progress.sent(kind, round, nodes)
        self._renew()

    def entry(self, entry: Entry) -> None:
        complete = self._progress.take(entry)
        self._renew()
        if complete is not None and self._live is None:
            self._say(_about(complete, self._progress.view(), self._rounds))

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._live is not None:
            self._live.close()
            self._live = None
            return
        for batch in self._progress.waiting():
            self._say(_about(batch, self._progress.view(), self._rounds))

    def _begin_live(self, history: History) -> _Live | None:
        if not _is_for_eyes(self._stream):
            return None
        try:
            from heflwr.flower.server import screen
        except ImportError:
            self._say(WITHOUT_RICH)
            return None
        if not screen.can_draw(self._stream):
            return None
        return _Live(self._progress, history, screen.Screen(self._stream, self._rounds), PinnedLines(self._stream))

    def _renew(self) -> None:
        if self._live is not None:
            self._live.is_old = True

    def _say(self, line: str) -> None:
        self._stream.write(f"heflwr: {line}\n")
        self._stream.flush()


class _Live:
    """Draws in a thread of its own, so that nobody who brings news waits for a terminal."""

    def __init__(self, progress: Progress, history: History, screen: Screen, pinned: PinnedLines) -> None:
        self.is_old = True
        self._progress = progress
        self._history = history
        self._screen = screen
        self._pinned = pinned
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heflwr-console", daemon=True)
        pinned.open()
        try:
            self._thread.start()
        except BaseException:
            pinned.close()
            raise

    def close(self) -> None:
        """End the thread; the table as it is now stays behind."""
        self._stop.set()
        try:
            self._thread.join(CLOSE_SECONDS)
            if not self._thread.is_alive():
                self._draw()
        finally:
            self._pinned.close()

    def _run(self) -> None:
        drawn_at, pause = -math.inf, 0.0
        while not self._stop.wait(max(TICK_SECONDS, pause)) and threading.main_thread().is_alive():
            begun = time.monotonic()
            if not (self.is_old or self._pinned.is_covered() or begun - drawn_at >= CLOCK_SECONDS):
                continue
            drawn_at = begun
            try:
                self._draw()
            except Exception as error:  # a picture of the run must not cost the run; the next one may succeed
                self._history.fault("Console", error)
                pause = FAILED_SECONDS
            else:
                pause = (time.monotonic() - begun) / COST_SHARE

    def _draw(self) -> None:
        self.is_old = False
        self._pinned.show(self._screen.lines(self._progress.view(), self._pinned.size()))


def _is_for_eyes(stream: IO[str]) -> bool:
    """Return True where a table in place would be seen, and by nobody who cannot make sense of it."""
    return (
        not os.environ.get("CI")
        and not is_taken(stream)  # another console has this terminal
        and "write" not in getattr(stream, "__dict__", {})  # how Flower makes a copy for `flwr run --stream`
        and stream.isatty()
    )


def _about(batch: Batch, view: View, rounds: int | None) -> str:
    """Return what there is to say of a batch in a line."""
    of = "" if rounds is None else f" of {rounds}"
    totals = batch.totals()
    answered = totals.calls - totals.errors - totals.lost
    parts = [f"{answered} of {batch.nodes} nodes in {quantities.seconds(batch.elapsed())}"]
    parts += wording.unanswered(totals.errors, totals.lost)
    timed = [entry for entry in batch.entries if "seconds" in entry.cost]
    if timed:
        slowest = max(timed, key=lambda entry: entry.cost["seconds"])
        parts.append(f"slowest {wording.printable(slowest.name)} with {quantities.seconds(slowest.cost['seconds'])}")
    parts += wording.spent(totals.sums) + wording.accuracy(view.accuracy)
    return f"round {batch.round}{of}, {wording.printable(batch.kind)}: {', '.join(parts)}"
