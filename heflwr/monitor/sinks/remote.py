"""Samples sent to a collector over HTTP or HTTPS: the sampling loop only leaves a row, a thread of its own sends."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heflwr.monitor import arguments
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _address
from heflwr.monitor.sinks._delivery import Delivery
from heflwr.monitor.sinks._http import Answer, Server
from heflwr.monitor.sinks._outbox import Batch

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
        self._path = "/simple_log" if arguments.boolean("simple", simple) else "/log"
        token = _address.token("token", token)
        self._server = Server(
            url=_address.http_url("host", host),
            authorization=None if token is None else f"Bearer {token}",
            verify=_address.verify(verify),
            timeout=arguments.number("timeout", timeout, 0.001, SECONDS_MAX),
        )
        self._spool_directory = None if spool is None else Path(spool).absolute()
        self.flush_seconds = arguments.number("flush_seconds", flush_seconds, 0.0, SECONDS_MAX)

    def open(self, run: Run) -> None:
        head = _head(run, is_simple=self._path == "/simple_log")
        self._wholes = tuple(metric.whole for metric in run.metrics)
        self._delivery = Delivery(self._server, _Json(), run.run, self._path, head, spool=self._spool_directory)

    def write(self, sample: Sample) -> None:
        self._delivery.add(_row(sample, self._wholes))

    def window(self, name: str, start: float, end: float | None) -> None:
        """Tell of a window of the run: once when it opens, and once more when it has an end.

        Args:
            name: What the user called it.
            start: Unix time, seconds; together with the name it says which window it is.
            end: Unix time, seconds; None while it is open.
        """
        self._delivery.add(json.dumps({"name": _unicode(name), "start": start, "end": end}))

    def close(self) -> None:
        self._delivery.close(self.flush_seconds)

    def facts(self) -> dict[str, Any]:
        return self._delivery.facts("remote")


class _Json:
    """The collector's own words (docs/collector.md): rows are JSON lists, windows JSON objects."""

    name = "a heflwr collector"
    content_type = "application/json"
    refusals = frozenset({400, 413})

    def body(self, batch: Batch) -> bytes:
        rows = ", ".join(row for row in batch.rows if not row.startswith("{"))
        windows = ", ".join(row for row in batch.rows if row.startswith("{"))
        told = f', "windows": [{windows}]' if windows else ""
        return f'{batch.head[:-1]}, "rows": [{rows}]{told}}}'.encode()

    def samples(self, batch: Batch) -> int:
        return sum(not row.startswith("{") for row in batch.rows)

    def is_receipt(self, answer: Answer, batch: Batch) -> bool:
        try:
            receipt = json.loads(answer.body)
            return bool(receipt["accepted"] + receipt["duplicates"] == self.samples(batch))
        except (ValueError, TypeError, LookupError, RecursionError):
            return False


def _head(run: Run, is_simple: bool) -> str:
    """Return what all rows of the run have in common, as a JSON object (see docs/collector.md)."""
    head: dict[str, Any] = {
        "identifier": _unicode(run.identifier),
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


def _unicode(text: str) -> str:
    """Return text without halves of surrogate pairs, which are not Unicode, and without NUL, which is not stored."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
