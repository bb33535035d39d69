"""The constructors of the six documented monitors, once; where the sampling runs is the subclass's only say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from heflwr.monitor.monitor import Monitor
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.prometheus import PrometheusSink
from heflwr.monitor.sinks.remote import RemoteSink


class FileMonitor(Monitor):
    """Writes each sample to a file."""

    _runs_in: ClassVar[str]

    def __init__(
        self,
        file: str | os.PathLike[str] = "./log.txt",
        interval: float = 5,
        *,
        format: str = "text",
        **options: Any,
    ) -> None:
        """Remember what to do; the file is opened by start(), appended to, and closed by stop().

        Args:
            file: Path of the file; it is created where it does not exist.
            interval: Seconds between samples.
            format: "text", "jsonl" or "csv".
            **options: Those of `heflwr.monitor.Monitor`.
        """
        super().__init__([FileSink(file, format=format)], interval=interval, runner=self._runs_in, **options)


class PrometheusMonitor(Monitor):
    """Serves the latest sample to a Prometheus server that scrapes it."""

    _runs_in: ClassVar[str]

    def __init__(
        self,
        port: int = 8003,
        interval: float = 5,
        *,
        host: str = "",
        labels: Mapping[str, str] | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
        register: str | None = None,
        register_token: str | None = None,
        advertise: str | None = None,
        identifier: str | None = None,
        **options: Any,
    ) -> None:
        """Remember what to do; the port is taken by start() and given back by stop().

        Args:
            port: TCP port; 0 picks a free one, which `monitor.port` tells.
            interval: Seconds between samples.
            host: Address to listen on; default all interfaces, as every exporter does.
            labels: Constant labels on every metric.
            certfile: Certificate chain (PEM) to serve HTTPS.
            keyfile: Its private key, where it is not in the same file.
            username: With `password`: ask for basic authentication.
            password: See `username`.
            register: A collector ("name:port" or a URL) that tells Prometheus of this target, for as long as it lives.
            register_token: Bearer token of that collector.
            advertise: "host" or "host:port" where Prometheus reaches this monitor; default the address it listens on.
            identifier: Label "identifier" on every metric, where given.
            **options: Those of `heflwr.monitor.Monitor`.
        """
        named = {} if identifier is None else {"identifier": identifier}
        sink = PrometheusSink(
            port,
            host=host,
            labels={**named, **(labels or {})},
            certfile=certfile,
            keyfile=keyfile,
            username=username,
            password=password,
            register=register,
            register_token=register_token,
            advertise=advertise,
        )
        super().__init__([sink], interval=interval, runner=self._runs_in, identifier=identifier, **options)


class RemoteMonitor(Monitor):
    """Sends samples to a collector, in batches, over HTTP or HTTPS."""

    _runs_in: ClassVar[str]

    def __init__(
        self,
        host: str = "127.0.0.1:5000",
        interval: float = 5,
        identifier: str | None = None,
        simple: bool = True,
        *,
        token: str | None = None,
        verify: bool | str | os.PathLike[str] = True,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        flush_seconds: float = 2.0,
        **options: Any,
    ) -> None:
        """Remember what to do; nothing is sent before start().

        Args:
            host: "name:port" or a URL with http:// or https://.
            interval: Seconds between samples.
            identifier: Who is measured; default the host's name and a random ending.
            simple: True sends identifier, time and values to /simple_log, False adds host, pid, platform, versions
                and units and sends to /log.
            token: Bearer token of the collector.
            verify: Check the server's certificate; a path names the authority to trust.
            timeout: Seconds to wait for the collector's answer.
            spool: Directory where samples wait that the collector has not taken yet; default memory.
            flush_seconds: Longest that stop() waits for the last samples to get through.
            **options: Those of `heflwr.monitor.Monitor`.
        """
        sink = RemoteSink(
            host, simple=simple, token=token, verify=verify, timeout=timeout, spool=spool, flush_seconds=flush_seconds
        )
        super().__init__([sink], interval=interval, runner=self._runs_in, identifier=identifier, **options)
