"""Samples sent to a collector over HTTP or HTTPS: the sampling loop only leaves a row, a thread of its own sends."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heflwr.monitor import arguments
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks._outbox import MemoryOutbox, Outbox
from heflwr.monitor.sinks._sender import Collector, Sender
from heflwr.monitor.sinks._spool import Leftovers, Spool, home_of

SECONDS_MAX = 3600.0
"""Longest timeout and flush_seconds: a stop() that takes an hour is a mistake."""


class RemoteSink:
    """Sends samples in batches; what cannot be sent yet waits in memory, or on disk."""

    def __init__(
        self,
        host: str,
        *,
        simple: bool = True,
        token: str | None = None,
        verify: bool | str | os.PathLike[str] = True,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        flush_seconds: float = 2.0,
    ) -> None:
        """Check and remember.

        Args:
            host: "name:port", or a URL with http:// or https://.
            simple: True posts identifier, run, times and values to /simple_log, False adds host, pid, versions, units,
                interval, sources and limits and posts to /log.
            token: Bearer token of the collector.
            verify: Check the server's certificate; a path (PEM) names the authority to trust.
            timeout: Seconds to wait for a connection and for an answer, > 0.
            spool: Directory in which samples wait for the collector; default memory. Several monitors may share one.
            flush_seconds: Longest that close() waits for the last samples to get through, >= 0.

        Raises:
            ValueError: A value that cannot be meant; the text says which can.
            TypeError: A value of the wrong type.
        """
        if not isinstance(verify, (bool, str, os.PathLike)):
            raise TypeError(f"verify must be True, False or a path, got {verify!r} ({type(verify).__name__})")
        self._path = "/simple_log" if arguments.boolean("simple", simple) else "/log"
        self._collector = Collector(
            url=_url(host),
            token=_token(token),
            verify=verify if isinstance(verify, bool) else os.path.abspath(verify),
            timeout=arguments.number("timeout", timeout, 0.001, SECONDS_MAX),
        )
        self._spool_directory = None if spool is None else Path(spool).absolute()
        self.flush_seconds = arguments.number("flush_seconds", flush_seconds, 0.0, SECONDS_MAX)

    def open(self, run: Run) -> None:
        verify = self._collector.verify
        if isinstance(verify, str) and not os.path.exists(verify):
            raise SinkUnavailable(f"verify names {verify}, which does not exist; give the authority's PEM file")
        head = _head(run, is_simple=self._path == "/simple_log")
        self._wholes = tuple(metric.whole for metric in run.metrics)
        self._memory = MemoryOutbox(self._path, head)
        self._spool: Spool | None = None
        outboxes: list[Outbox] = [self._memory]
        if self._spool_directory is not None:
            home = home_of(self._spool_directory, self._collector.url)
            try:
                self._spool = Spool.begin(home, run.run, self._path, head)
            except OSError as error:
                raise SinkUnavailable(
                    f"cannot spool to {self._spool_directory}: {error.strerror}; choose another directory"
                ) from error
            outboxes.insert(0, self._spool)
            self._sender = Sender(self._collector, outboxes, Leftovers(home).claim_next)
        else:
            self._sender = Sender(self._collector, outboxes, lambda: None)
        try:
            self._sender.start()
        except RuntimeError as error:  # the system has no thread left
            for outbox in outboxes:
                outbox.close()
            raise SinkUnavailable(f"cannot send to {self._collector.url}: {error}; let more threads run") from error

    def write(self, sample: Sample) -> None:
        row = _row(sample, self._wholes)
        if self._spool is None or not self._spooled(self._spool, row):
            self._memory.append(row)
        self._sender.wake()

    def close(self) -> None:
        self._sender.close(self.flush_seconds)
        for outbox in self._sender.outboxes:
            outbox.close()

    def facts(self) -> dict[str, Any]:
        tally, outboxes = self._sender.tally, self._sender.outboxes
        return {
            "sink": "remote",
            "url": self._collector.url,
            "sent": tally.sent,
            "waiting": sum(outbox.waiting for outbox in outboxes),
            "dropped": tally.refused + sum(outbox.dropped for outbox in outboxes),
            "spooled": sum(outbox.waiting for outbox in outboxes if outbox is not self._memory),
            "last_error": tally.last_error,
        }

    def _spooled(self, spool: Spool, row: str) -> bool:
        """Return False where the disk does not take it: memory is second best."""
        try:
            spool.append(row)
        except OSError as error:
            self._sender.tally.last_error = f"cannot spool, samples wait in memory: {error}"
            return False
        return True


def _head(run: Run, is_simple: bool) -> str:
    """Return what all rows of the run have in common, as a JSON object (see docs/collector.md)."""
    head: dict[str, Any] = {
        "identifier": run.identifier.encode("utf-8", "backslashreplace").decode(),  # half a surrogate is not Unicode
        "run": run.run,
        "metrics": [metric.name for metric in run.metrics],
    }
    if not is_simple:
        head |= {
            "host": run.host,
            "pid": run.pid,
            "started": run.started,
            "interval": run.interval,
            "units": {metric.name: metric.unit for metric in run.metrics},
            "versions": run.versions,
            "sources": run.sources,
            "limits": {name: value for name, value in run.limits.items() if math.isfinite(value)},
        }
    return json.dumps(head)


def _row(sample: Sample, wholes: Sequence[bool]) -> str:
    """Return [sequence, time, values...] as JSON; a value that is missing, or no number, is null."""
    values = [
        (int(value) if whole else value) if math.isfinite(value) else None
        for whole, value in zip(wholes, sample.values, strict=True)
    ]
    return json.dumps([sample.sequence, sample.time, *values])


def _url(host: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"host must be a string, got {host!r} ({type(host).__name__})")
    way_out = "write 'name:port', 'http://name:port' or 'https://name:port'"
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"host must be an address, got {host!r} ({error}); {way_out}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not host.isprintable() or " " in host:
        raise ValueError(f"host must be an address, got {host!r}; {way_out}")
    if "://" not in host and port is None:
        raise ValueError(f"host has no port, got {host!r}; write '{host.rstrip(':/')}:5000', or a URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"host must be an address alone; {way_out}, and give a secret as token=")
    return parts.geturl().rstrip("/")


def _token(token: str | None) -> str | None:
    if token is not None and not isinstance(token, str):
        raise TypeError(f"token must be a string, got {type(token).__name__}")
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise ValueError("token must be visible ASCII characters without blanks; it travels in a header")
    return token
