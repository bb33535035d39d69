"""Serves the latest sample, and running sums since start(), to a Prometheus server that scrapes them.

Names, units and labels are those of `heflwr.monitor.metrics`; docs/prometheus.md explains them. `heflwr.exposition`
listens; `_families` makes metrics of samples and is imported only when a sink opens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heflwr.exposition import checks
from heflwr.exposition.server import MetricsServer
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample

if TYPE_CHECKING:
    from heflwr.monitor.sinks._registrar import Registrar, Registration

_RESERVED = {"le", "quantile", "version", "python", "platform"} | {
    name for metric in METRICS if metric.prometheus is not None for name, _ in metric.prometheus.labels
}
"""Label names with a meaning of their own, to Prometheus or in our metrics."""


class PrometheusSink:
    """Serves the latest sample over HTTP or HTTPS, in the Prometheus text format or as OpenMetrics."""

    flush_seconds = 1.0  # nothing is flushed; the endpoint's threads get this long to end

    def __init__(
        self,
        port: int = 8003,
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
    ) -> None:
        """Remember where to listen.

        Args:
            port: TCP port, 0 to 65535; 0 picks a free one, which `monitor.port` tells.
            host: Name or address to listen on; default all interfaces, IPv4 and IPv6.
            labels: Constant labels on every metric.
            certfile: Certificate chain (PEM) to serve HTTPS.
            keyfile: Its private key (PEM, not encrypted), where it is not in the same file.
            username: With `password`: ask for basic authentication.
            password: See `username`.
            register: A collector ("name:port" or a URL) that tells Prometheus of this target, for as long as it lives.
            register_token: Bearer token of that collector.
            advertise: "host" or "host:port" where Prometheus reaches us; default `host`, or where that is all
                interfaces the local address of the route to the collector, and `port`.

        Raises:
            ValueError: A port out of range, a label name that Prometheus does not allow or that is taken, a file that
                is not there, a key without a certificate, one of username and password without the other, something
                that is no address.
            TypeError: A value of another type.
        """
        self._server = MetricsServer(
            port, host=host, certfile=certfile, keyfile=keyfile, username=username, password=password
        )
        self._labels = dict(checks.label(name, value, _RESERVED) for name, value in (labels or {}).items())
        self._is_https = certfile is not None
        self._registration = _registration(register, register_token, advertise, host)
        self._registrar: Registrar | None = None

    def open(self, run: Run) -> None:
        from heflwr.monitor.sinks._families import RunFamilies

        self._families = RunFamilies(run, self._labels)
        self._server.open(self._families.answer)
        if self._registration is None:
            return
        from heflwr.monitor.sinks._registrar import Registrar

        self._registrar = Registrar(
            self._registration,
            identifier=run.identifier,
            run=run.run,
            port=self._server.port,
            is_https=self._is_https,
        )
        try:
            self._registrar.start()
        except RuntimeError as error:  # the system has no thread left
            self._registrar = None
            self._server.close()
            raise SinkUnavailable(f"cannot register: {error}; let more threads run") from error

    def write(self, sample: Sample) -> None:
        self._families.take(sample)

    def orphan(self) -> None:
        """Stay on the collector's list: a client that was killed shall be missed, not forgotten."""
        if self._registrar is not None:
            self._registrar.stay()

    def close(self) -> None:
        if self._registrar is not None:
            self._registrar.close()
        self._server.close()

    def facts(self) -> dict[str, Any]:
        registered = {} if self._registrar is None else {"registered": self._registrar.facts()}
        return {
            **registered,
            "sink": "prometheus",
            "port": self._server.port,
            "host": self._server.host,
            "scrapes": self._server.scrapes,
            "url": self._server.url,
        }


def _registration(register: str | None, token: str | None, advertise: str | None, host: str) -> Registration | None:
    """Return where to register, None for nowhere; what does it is imported only where it is asked for."""
    if register is None:
        for name, value in (("register_token", token), ("advertise", advertise)):
            if value is not None:
                raise ValueError(f"{name} is for the collector of register=; give that as well")
        return None
    from heflwr.monitor.sinks._registrar import Registration

    return Registration.checked(register, token, advertise, host)
