"""Serves the latest sample, and running sums since start(), to a Prometheus server that scrapes them.

Names, units and labels are those of `heflwr.monitor.metrics`; docs/prometheus.md explains them. The arguments are
checked here; `_exposition` writes the metrics and `_endpoint` speaks HTTP, both imported only when a sink opens.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heflwr.monitor import arguments
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample

if TYPE_CHECKING:
    import ssl

    from heflwr.monitor.sinks._endpoint import Answer, Endpoint, Request

PATH = "/metrics"

PORT_MAX = 65535

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # what every Prometheus takes; quoted UTF-8 names need version 3

_RESERVED = {"le", "quantile", "version", "python", "platform"} | {
    name for metric in METRICS if metric.prometheus is not None for name, _ in metric.prometheus.labels
}
"""Label names with a meaning of their own, to Prometheus or in our metrics."""

_REALM = {"WWW-Authenticate": 'Basic realm="heflwr", charset="UTF-8"'}


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

        Raises:
            ValueError: A port out of range, a label name that Prometheus does not allow or that is taken, a file that
                is not there, a key without a certificate, one of username and password without the other.
            TypeError: A value of another type.
        """
        self._port = arguments.integer("port", port, 0, PORT_MAX)
        self._host = _text("host", host)
        self._labels = dict(_label(name, value) for name, value in (labels or {}).items())
        self._certfile = _file("certfile", certfile)
        self._keyfile = _file("keyfile", keyfile)
        if self._keyfile is not None and self._certfile is None:
            raise ValueError(f"keyfile {str(keyfile)!r} needs a certfile; give certfile= as well")
        self._token = _token(username, password)
        self._endpoint: Endpoint | None = None
        self._bound_port = self._port
        self._scrapes = 0

    def open(self, run: Run) -> None:
        from heflwr.monitor.sinks._endpoint import Endpoint
        from heflwr.monitor.sinks._exposition import Exposition

        self._exposition = Exposition(run, self._labels)
        self._scrapes = 0
        self._count = itertools.count(1)  # several threads take from it
        endpoint = Endpoint(self._host, self._port, self._respond, self._tls())
        try:
            endpoint.open()
        except (OSError, UnicodeError, RuntimeError) as error:
            where = f"host {self._host!r}" if self._host else "all interfaces"
            raise SinkUnavailable(
                f"cannot listen on port {self._port} of {where}: {_reason(error)}; choose another port (port=0 picks a "
                "free one) or another host"
            ) from error
        self._endpoint = endpoint
        self._bound_port = endpoint.port

    def write(self, sample: Sample) -> None:
        self._exposition.take(sample)

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    def facts(self) -> dict[str, Any]:
        return {
            "sink": "prometheus",
            "port": self._bound_port,
            "host": self._host,
            "scrapes": self._scrapes,
            "url": self._url(),
        }

    def _url(self) -> str:
        """Return where this machine itself finds the metrics."""
        host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self._certfile is None else 'https'}://{host}:{self._bound_port}{PATH}"

    def _tls(self) -> ssl.SSLContext | None:
        if self._certfile is None:
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certfile, self._keyfile, password="")  # or OpenSSL asks on the terminal
        except OSError as error:
            raise SinkUnavailable(
                f"cannot serve HTTPS with certfile {str(self._certfile)!r} and keyfile "
                f"{str(self._keyfile or self._certfile)!r}: {_reason(error)}; give a certificate chain and its key, "
                "not encrypted, as PEM files"
            ) from error
        return context

    def _respond(self, request: Request) -> Answer:
        """Answer a request; called from the endpoint's threads."""
        from http import HTTPStatus

        from heflwr.monitor.sinks._endpoint import Answer

        if self._token is not None and not request.bears(self._token):
            return Answer.text(HTTPStatus.UNAUTHORIZED, "this needs a name and a password", _REALM)
        if request.path not in ("/", PATH):
            return Answer.text(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}")
        if request.method not in ("GET", "HEAD"):
            return Answer.text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET or HEAD", {"Allow": "GET, HEAD"})
        if request.path == "/":
            return Answer.text(HTTPStatus.OK, f"heflwr: metrics are at {PATH}")
        answer = self._exposition.answer(request)
        if request.method == "GET":
            self._scrapes = next(self._count)
        return answer


def _reason(error: Exception) -> str:
    """Return why, without the details that create_server() adds."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno is not None:
        return os.strerror(error.errno)
    return str(getattr(error, "strerror", None) or error)


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r} ({type(value).__name__})")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be text that UTF-8 can carry, got {value!r}: {error.reason}") from error
    return value


def _label(name: str, value: str) -> tuple[str, str]:
    if not _LABEL.fullmatch(_text("a label's name", name)):
        raise ValueError(f"label {name!r} must begin with a letter and hold only letters a-z, digits and _")
    if name in _RESERVED or name.startswith("__"):
        raise ValueError(
            f"label {name!r} is taken (as are {', '.join(sorted(_RESERVED))} and __*); choose another name"
        )
    return name, _text(f"label {name!r}", value)


def _file(name: str, value: str | os.PathLike[str] | None) -> Path | None:
    if value is None:
        return None
    path = Path(value).absolute()
    if not path.is_file():
        raise ValueError(f"{name} must be a PEM file that exists, got {str(value)!r} ({path})")
    return path


def _token(username: str | None, password: str | None) -> bytes | None:
    """Return what an authorized client sends, None where everybody may read."""
    if username is None and password is None:
        return None
    if not username or not password:
        raise ValueError(
            f"username and password go together and are not empty, got username={username!r} and "
            f"{'an empty' if password == '' else 'no' if password is None else 'a'} password; give both, or neither"
        )
    if ":" in _text("username", username):
        raise ValueError(f"username must not hold a colon, got {username!r}: basic authentication ends it there")
    return base64.b64encode(f"{username}:{_text('password', password)}".encode())
