"""The coordinator of the live channel: it knows all watched functions within their bounds, in a thread of its own."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from heflwr.live.ends import listener_at
from heflwr.live.errors import Unavailable
from heflwr.live.keys import Accepted
from heflwr.live.reception import Reception
from heflwr.live.registry import Registry
from heflwr.live.state import Kept, StateFile
from heflwr.live.watched import Watched

if TYPE_CHECKING:
    from types import TracebackType

    from heflwr.live.standing import Standing
    from heflwr.live.watches import Watches

_logger = logging.getLogger("heflwr.live")

LISTEN = "127.0.0.1:7100"
LEASE_SECONDS = 12.0
"""Four heartbeats of three seconds."""
RETRY_SECONDS = 1.0
"""How long a request may stay unanswered, and a key that was taken away be good."""
MOST_AGENTS = 4096
BATCH = 1000
"""Messages weighed together in one step, so that a flood does not keep time-outs from being looked at."""
STEP_SECONDS = 0.2
"""How long stop() may wait to be heard."""
LOOK_SECONDS = 0.1
"""Between two looks at what is due, however many messages come; as old may be what others see."""


class LiveCoordinator:
    """Knows all watched functions within their bounds; in a thread of its own between `start` and `stop`.

    Args:
        watches: What is watched; agents have the same list.
        listen: HOST:PORT, or https://HOST:PORT; port 0 takes a free one, see `address`. Without keys only of this
            machine itself.
        keys: Folder of the coordinator's keys (`heflwr.live.keys`); None: neither encryption nor names.
        agents: How many the first answer waits for, those that do not come one lease long.
        lease_seconds: How long an agent may be silent; they are told to speak four times in it.
        state: File to go on from, and to keep the state in; None: it ends with the process.
        most_agents: Identifiers that are kept.
        on_alert: Gets a line when an alert of the list is due.
        on_event: Gets a line when somebody comes, goes or is refused.
        clock: Seconds that never go back.

    Raises:
        ValueError: An argument is out of range.
        WrongKeys: The folder of keys cannot be used.
    """

    def __init__(
        self,
        watches: Watches,
        listen: str = LISTEN,
        keys: str | Path | None = None,
        *,
        agents: int = 1,
        lease_seconds: float = LEASE_SECONDS,
        state: str | Path | None = None,
        most_agents: int = MOST_AGENTS,
        on_alert: Callable[[str], None] = _logger.warning,
        on_event: Callable[[str], None] = _logger.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watches, self._agents, self._clock = watches, agents, clock
        self._new_registry: Callable[[], Registry] = lambda: Registry(most_agents, agents, lease_seconds)
        self._registry = self._new_registry()
        self._on_alert, self._on_event = on_alert, on_event
        self._accepted = None if keys is None else Accepted(Path(keys))
        folder = None if keys is None else Path(keys)
        self._listener = listener_at(listen, folder, self._accepted, lambda key: self._reception.name_of(key))
        self._listen_on = listen
        self._file = None if state is None else StateFile(Path(state))
        self._watched: tuple[Watched, ...] = ()
        self._session = 0
        self._is_open = False
        self._retry_at = self._look_at = 0.0
        self._standings: tuple[Standing, ...] = ()
        self._lock = threading.Lock()
        self._reports: dict[str, Counter[str]] = {watch.name: Counter() for watch in watches}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0

    # Life

    def start(self) -> None:
        """Listen, and work in a thread until `stop`.

        Raises:
            Unavailable: The address cannot be had, or the state is of something else.
        """
        self.open()
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, name="heflwr-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Store the state, and listen no more; does nothing when not started."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.close()

    def __enter__(self) -> LiveCoordinator:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def open(self) -> None:
        """Go on from the state, and listen; for those who call `step` themselves.

        Raises:
            Unavailable: The address cannot be had, or the state is of something else.
        """
        if self._is_open:
            return
        now = self._clock()
        self._begin(now)
        try:
            self._listener.open()
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {self._listen_on}: {error.strerror or error}; choose another"
            ) from error
        self._is_open = True
        self._retry_at = now + RETRY_SECONDS
        self._note(now)

    def close(self) -> None:
        """Store the state, and listen no more; does nothing the second time."""
        if not self._is_open:
            return
        self._is_open = False
        self._save()
        self._listener.close()

    @property
    def address(self) -> str:
        """Where it listens, as agents connect to it, with the port it got."""
        return self._listener.address.removeprefix("tcp://")

    @property
    def standings(self) -> tuple[Standing, ...]:
        """All functions as they stand, in the list's order; from any thread."""
        return self._standings

    @property
    def counts(self) -> dict[str, int]:
        """What was not taken, by kind: `malformed`, `refused` (messages) and `handshakes`; and `failures`, our own."""
        return {
            "malformed": self._reception.malformed,
            "refused": self._reception.refused,
            "handshakes": self._listener.refused_handshakes,
            "failures": self._failures,
        }

    def reports(self) -> dict[str, Counter[str]]:
        """Return, for each function, who sent how many messages since this was asked before; from any thread."""
        with self._lock:
            reports, self._reports = self._reports, {watch.name: Counter() for watch in self._watches}
        return reports

    # Work

    def step(self, timeout_seconds: float = 0.0) -> None:
        """Wait for messages, for so long at most, and do all that is due."""
        wait = max(0.0, min(timeout_seconds, self._look_at - self._clock()))
        for arrival in self._listener.receive(wait, BATCH):
            self._reception.take(arrival)
        self._reception.weigh()
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        self._reception.expire()
        if now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS
            self._reception.resend()
            if self._accepted is not None:
                self._accepted.refresh()
        versions = [watched.version for watched in self._watched]
        if self._file is not None and self._file.is_due(now, versions, len(self._registry.indices)):
            self._save()
        self._note(now)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.step(STEP_SECONDS)
            except Exception:
                self._failures += 1
                _logger.exception("a step of the live coordinator failed")
                self._stop.wait(STEP_SECONDS)

    def _note(self, now: float) -> None:
        """Let other threads see what is known, and call alerts."""
        quiet = len(self._registry.quiet(now))
        self._standings = tuple(watched.standing(quiet) for watched in self._watched)
        for watched in self._watched:
            watched.look(quiet)
        with self._lock:
            for watched in self._watched:
                self._reports[watched.name].update(watched.reports())

    # What survives

    def _begin(self, now: float) -> None:
        """Takes up the state, where there is one."""
        kept = None if self._file is None else self._file.read(self._watches)
        self._session = secrets.randbits(62) if kept is None else kept.session
        self._registry = self._new_registry()
        try:
            self._watched = tuple(
                Watched(
                    number,
                    watch,
                    self._agents,
                    RETRY_SECONDS,
                    self._clock,
                    self._on_alert,
                    None if kept is None else kept.functions[number],
                )
                for number, watch in enumerate(self._watches)
            )
        except (KeyError, ValueError, TypeError) as error:
            if kept is None:
                raise
            raise Unavailable(f"the state is of another heflwr: {error}; remove the file to begin anew") from error
        self._reception = Reception(
            self._watches,
            self._watched,
            self._registry,
            self._accepted,
            self._session,
            self._listener.send,
            self._on_event,
            self._clock,
        )
        if kept is not None:
            self._registry.restore(kept.indices, now)
            for watched in self._watched:
                watched.restart()
            self._save()

    def _save(self) -> None:
        """Stores the state; a full disk is logged, and does not end the work."""
        if self._file is None:
            return
        functions = [watched.state for watched in self._watched]
        kept = Kept(self._session, self._registry.indices, functions)
        versions = [watched.version for watched in self._watched]
        try:
            self._file.write(self._watches, kept, versions, self._clock())
        except OSError as error:
            _logger.error("the state cannot be kept: %s", error)
