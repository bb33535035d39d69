"""Samples sent to OpenTelemetry: to a Collector, or to whatever takes OTLP, over HTTP or gRPC.

What metrics are called there is in `_otlp_names` and in docs/opentelemetry.md. OpenTelemetry's messages are imported
when a sink opens.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heflwr.monitor import arguments
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _address, _otlp_rows
from heflwr.monitor.sinks._delivery import Delivery
from heflwr.monitor.sinks._http import Server, loading
from heflwr.monitor.sinks._otlp_rows import Attribute

SECONDS_MAX = 3600.0
"""Longest timeout and flush_seconds: a stop() that takes an hour is a mistake."""

_PATH = "/v1/metrics"
_PROTOCOLS = ("http", "grpc")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_OWN_HEADERS = {"content-type", "content-encoding", "content-length", "host"}


class OtlpSink:
    """Sends every sample, in batches, as OTLP metrics: a point a value, counters as totals since the start."""

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "http",
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, Attribute] | None = None,
        verify: bool | str | os.PathLike[str] = True,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        flush_seconds: float = 2.0,
    ) -> None:
        """Check and remember.

        Args:
            url: "http://name:4318", or "https://..." for TLS; /v1/metrics is put behind it. For gRPC "http://name:4317".
            protocol: "http" (protobuf in a POST) or "grpc", which needs grpcio.
            headers: Sent with every request, gRPC calls them metadata: {"Authorization": "Bearer ..."}.
            resource: Attributes of who is measured, besides or instead of ours: {"service.name": "trainer"}.
            verify: Check the receiver's certificate; a path (PEM) names the authority to trust.
            timeout: Seconds to wait for a connection and for an answer, > 0.
            spool: Directory in which samples wait for the receiver; default memory.
            flush_seconds: Longest that close() waits for the last samples to get through, >= 0.

        Raises:
            ValueError: A value that cannot be meant; the text says which can.
            TypeError: A value of the wrong type.
        """
        self._protocol = arguments.choice("protocol", protocol, _PROTOCOLS)
        address = _address.http_url("url", url, "headers")
        if address.endswith(_PATH):
            raise ValueError(f"url is without {_PATH}, which is put behind it; got {url!r}")
        if self._protocol == "grpc":
            if urlsplit(address).path:
                raise ValueError(f"gRPC has no path in its address, got {url!r}; write 'http://name:4317'")
            if verify is False:
                raise ValueError("gRPC always checks certificates; give the authority as verify=, or protocol='http'")
        self._server = Server(
            url=address,
            authorization=None,
            verify=_address.verify(verify),
            timeout=arguments.number("timeout", timeout, 0.001, SECONDS_MAX),
            headers=tuple(_header(name, value) for name, value in (headers or {}).items()),
        )
        if self._protocol == "grpc" and any(name.lower().endswith("-bin") for name, _ in self._server.headers):
            raise ValueError("headers cannot have names that end in '-bin': gRPC's are bytes, and no text")
        self._resource = dict(_attribute(name, value) for name, value in (resource or {}).items())
        self._spool_directory = None if spool is None else Path(spool).absolute()
        self.flush_seconds = arguments.number("flush_seconds", flush_seconds, 0.0, SECONDS_MAX)

    def open(self, run: Run) -> None:
        try:
            with loading():
                from heflwr.monitor.sinks import _otlp_post as post

                if self._protocol == "grpc":
                    from heflwr.monitor.sinks._otlp_grpc import over_grpc as connect
                else:
                    connect = post.over_http
        except ImportError as error:
            extra = "otlp" if self._protocol == "http" else "otlp-grpc"
            raise SinkUnavailable(f"cannot write OTLP: {error}; pip install 'heflwr[{extra}]'") from error
        self._rows = _otlp_rows.Rows(run)
        self._rejections = post.Rejections()
        self._delivery = Delivery(
            self._server,
            post.Wire(),
            run.run,
            _PATH,
            _otlp_rows.head(run, self._resource),
            spool=self._spool_directory,
            mark=f"otlp-{self._protocol}+",  # what waits in a spool for one is not read for another
            connect=functools.partial(connect, rejections=self._rejections),
        )

    def write(self, sample: Sample) -> None:
        self._delivery.add(self._rows.row(sample))

    def close(self) -> None:
        self._delivery.close(self.flush_seconds)

    def facts(self) -> dict[str, Any]:
        facts = self._delivery.facts("otlp")
        return {
            **facts,
            "protocol": self._protocol,
            "rejected_points": self._rejections.points,
            "last_error": facts["last_error"] or self._rejections.reason,
        }


def _header(name: str, value: str) -> tuple[str, str]:
    """Return a header that can be sent; raise TypeError or ValueError, which never tell its value."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"headers must be strings, got {name!r}: {type(value).__name__}")
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS or name.lower().startswith("grpc-"):
        raise ValueError(f"headers cannot have {name!r}: letters, digits, '-', '_' and '.', and none of the sink's own")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError(f"header {name!r} must be visible ASCII characters")
    return name, value


def _attribute(name: str, value: Attribute) -> tuple[str, Attribute]:
    """Return an attribute that OTLP can carry; raise TypeError or ValueError for any other."""
    if not isinstance(name, str) or not isinstance(value, (str, bool, int, float)):
        raise TypeError(f"resource must be names with text, truth values or numbers, got {name!r}: {value!r}")
    if not name or not name.isprintable():
        raise ValueError(f"resource must have names that can be read, got {name!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"resource {name!r} must be finite, got {value!r}")
    if isinstance(value, int) and not -_otlp_rows.INTEGER_END <= value < _otlp_rows.INTEGER_END:
        raise ValueError(f"resource {name!r} must fit into 64 bits, got {value!r}")
    return name, value
