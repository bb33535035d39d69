"""A server of metrics: where it listens and whom it lets in; the page under /metrics is an argument.

The arguments are checked here; `endpoint` speaks HTTP, and is imported only when a server opens.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from heflwr.exposition import checks
from heflwr.monitor import arguments
from heflwr.monitor.errors import SinkUnavailable

if TYPE_CHECKING:
    import ssl

    from heflwr.exposition.endpoint import Answer, Endpoint, Request

PATH = "/metrics"

PORT_MAX = 65535

_REALM = {"WWW-Authenticate": 'Basic realm="heflwr", charset="UTF-8"'}


class MetricsServer:
    """Serves a page of metrics over HTTP or HTTPS between open() and close().

    Attributes:
        port: That was asked for; once open, the one that was picked.
        host: Name or address to listen on, "" for all interfaces.
        scrapes: How often the page was fetched since open().
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "",
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        """Remember where to listen.

        Args:
            port: TCP port, 0 to 65535; 0 picks a free one.
            host: Name or address to listen on; default all interfaces, IPv4 and IPv6.
            certfile: Certificate chain (PEM) to serve HTTPS.
            keyfile: Its private key (PEM, not encrypted), where it is not in the same file.
            username: With `password`: ask for basic authentication.
            password: See `username`.

        Raises:
            ValueError: A port out of range, a file that is not there, a key without a certificate, one of username and
                password without the other.
            TypeError: A value of another type.
        """
        self.port = self._asked_port = arguments.integer("port", port, 0, PORT_MAX)
        self.host = checks.text("host", host)
        self.scrapes = 0
        self._certfile = checks.file("certfile", certfile)
        self._keyfile = checks.file("keyfile", keyfile)
        if self._keyfile is not None and self._certfile is None:
            raise ValueError(f"keyfile {str(keyfile)!r} needs a certfile; give certfile= as well")
        self._token = checks.token(username, password)
        self._endpoint: Endpoint | None = None

    @property
    def url(self) -> str:
        """Where this machine itself finds the metrics."""
        host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self._certfile is None else 'https'}://{host}:{self.port}{PATH}"

    def open(self, page: Callable[[Request], Answer]) -> None:
        """Listen.

        Args:
            page: Writes the metrics in the format that a request prefers; called from several threads.

        Raises:
            SinkUnavailable: The port or the certificate cannot be had; the text says why and the way out.
        """
        from heflwr.exposition.endpoint import Endpoint

        self._page = page
        self.scrapes = 0
        self._count = itertools.count(1)  # several threads take from it
        endpoint = Endpoint(self.host, self._asked_port, self._respond, self._tls())
        try:
            endpoint.open()
        except (OSError, UnicodeError, RuntimeError) as error:
            where = f"host {self.host!r}" if self.host else "all interfaces"
            raise SinkUnavailable(
                f"cannot listen on port {self._asked_port} of {where}: {_reason(error)}; choose another port (port=0 "
                "picks a free one) or another host"
            ) from error
        self._endpoint = endpoint
        self.port = endpoint.port

    def close(self) -> None:
        """Free the port, where one is held."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

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

        from heflwr.exposition.endpoint import Answer

        if self._token is not None and not request.bears(self._token):
            return Answer.text(HTTPStatus.UNAUTHORIZED, "this needs a name and a password", _REALM)
        if request.path not in ("/", PATH):
            return Answer.text(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}")
        if request.method not in ("GET", "HEAD"):
            return Answer.text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET or HEAD", {"Allow": "GET, HEAD"})
        if request.path == "/":
            return Answer.text(HTTPStatus.OK, f"heflwr: metrics are at {PATH}")
        answer = self._page(request)
        if request.method == "GET":
            self.scrapes = next(self._count)
        return answer


def _reason(error: Exception) -> str:
    """Return why, without the details that create_server() adds."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno is not None:
        return os.strerror(error.errno)
    return str(getattr(error, "strerror", None) or error)
