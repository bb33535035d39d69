"""Posts watched functions to a collector, from a thread of its own and with bounded memory."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from heflwr.live.standing import Standing

_logger = logging.getLogger("heflwr.live")

PATH = "/api/v1/functions"
MOST_WAITING = 10_000
"""Points that may wait for a collector that is away; the oldest are dropped."""
BATCH = 500
"""Points in one request."""
TIMEOUT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 30.0
"""Between two tries while the collector is away; the first pause is a second."""
FLUSH_SECONDS = 2.0
"""How long close() may take to post what is left."""


class Poster:
    """Takes standings and posts them between `open` and `close`; a context manager.

    Every point has a number, so that one that is sent twice counts once.

    Args:
        url: Of the collector, such as "http://127.0.0.1:8080".
        identifier: Who posts.
        token: Of the collector, where it asks for one.
        clock: Unix time, seconds.

    Raises:
        ValueError: The URL is none.
    """

    def __init__(
        self, url: str, identifier: str, *, token: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        is_whole = "://" in url or parts.port is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_whole:
            raise ValueError(f"a collector is http://HOST:PORT or https://HOST:PORT, got {url!r}")
        self._url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))
        self._identifier, self._token, self._clock = identifier, token, clock
        self._run = os.urandom(8).hex()
        self._sequence = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self.posted = 0
        """Points that the collector has."""
        self.dropped = 0
        """Points that waited too long, or that the collector refused."""

    def open(self) -> None:
        """Begin to post; once."""
        self._thread = threading.Thread(target=self._work, name="heflwr-live-post", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Post what is left, for FLUSH_SECONDS at most, and end."""
        with self._news:
            self._is_over = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)

    def __enter__(self) -> Poster:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def take(self, standings: Sequence[Standing]) -> None:
        """Lets these be posted; never waits."""
        now = self._clock()
        with self._news:
            for standing in standings:
                self._waiting.append(_point(standing, self._sequence, now))
            self._sequence += 1
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._news.notify()

    def _work(self) -> None:
        pause = 0.0
        while True:
            with self._news:
                if pause:
                    self._news.wait_for(lambda: self._is_over, pause)
                else:
                    self._news.wait_for(lambda: self._is_over or self._waiting)
                batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
                is_over = self._is_over
            if not batch:
                return
            pause = 0.0 if self._post(batch) else min(LONGEST_PAUSE_SECONDS, max(1.0, 2 * pause))
            if is_over and pause:
                return

    def _post(self, batch: list[dict[str, Any]]) -> bool:
        """Posts some points; False where they are to be sent again."""
        body = json.dumps({"identifier": self._identifier, "run": self._run, "functions": batch}).encode()
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                pass
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 429 or error.code >= 500:
                    return False
                _logger.error("the collector refuses functions: %s %s", error.code, error.read(500))
            self._done(batch, is_posted=False)
            return True
        except (OSError, ValueError) as error:
            _logger.warning("the collector at %s cannot be reached: %s", self._url, error)
            return False
        self._done(batch, is_posted=True)
        return True

    def _done(self, batch: list[dict[str, Any]], *, is_posted: bool) -> None:
        with self._news:
            for point in batch:
                if self._waiting and self._waiting[0] is point:  # it may have been dropped meanwhile
                    self._waiting.popleft()
                    self.posted += is_posted
                    self.dropped += not is_posted


def _point(standing: Standing, sequence: int, now: float) -> dict[str, Any]:
    return {
        "name": standing.name,
        "unit": standing.unit,
        "guarantee": standing.guarantee,
        "reason": standing.reason,
        "sequence": sequence,
        "time": now,
        "round": standing.round,
        "value": standing.value,
        "bound": standing.bound,
        "truth": standing.truth,
        "live": standing.live,
        "stale": standing.stale,
        "lost": standing.lost,
        "messages": standing.messages,
        "centralization": standing.updates,
    }
