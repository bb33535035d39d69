"""One connection that is kept between requests, of one thread; another one may break it off."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress

from heflwr.automon.transports.zeromq.handshake import Handshake
from heflwr.live.longpoll.bodies import ANSWER_BYTES, CONTENT_TYPE, PATH, WAIT

TIMEOUT_SECONDS = 10.0
"""Of connecting, and of an answer beyond the time that it may be held back."""


class Client:
    """Posts to a listener.

    Args:
        host: Of the listener.
        port: Likewise.
        context: Of TLS; None: none.
        headers: Of every request.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, headers: Mapping[str, str]) -> None:
        self._host, self._port, self._tls, self._headers = host, port, context, dict(headers)
        self._http: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None

    def exchange(self, body: bytes, wait_seconds: float) -> tuple[Handshake, bytes]:
        """Post a body; return what became of that, and where it is DONE the answer's.

        Args:
            body: At most REQUEST_BYTES.
            wait_seconds: How long the answer may be held back.
        """
        outcome, told = Handshake.OPEN, b""
        try:
            outcome, told = self._exchange(body, wait_seconds)
        except ssl.SSLCertVerificationError:
            outcome = Handshake.BROKEN_OFF
        except (OSError, http.client.HTTPException):
            pass
        if outcome is not Handshake.DONE:
            self.close()
        return outcome, told

    def close(self) -> None:
        """Disconnect; safe to repeat."""
        if self._http is not None:
            self._http.close()
            self._http = self._socket = None

    def break_off(self) -> None:
        """Have an exchange that another thread is in the midst of fail now."""
        connected = self._socket
        if connected is not None:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, which the other thread is using

    def _exchange(self, body: bytes, wait_seconds: float) -> tuple[Handshake, bytes]:
        connection = self._http or self._connected()
        assert self._socket is not None
        self._socket.settimeout(wait_seconds + TIMEOUT_SECONDS)
        connection.request("POST", PATH, body, self._headers | {WAIT: f"{wait_seconds:g}"})
        answer = connection.getresponse()
        told = answer.read(ANSWER_BYTES + 1)
        if answer.status == 401:
            return Handshake.UNKNOWN_KEY, b""
        if answer.status >= 500:  # too busy, or a proxy whose coordinator is away
            return Handshake.OPEN, b""
        is_ours = answer.headers.get_content_type() == CONTENT_TYPE  # a page that says "please log in" is not
        if answer.status != 200 or not is_ours or len(told) > ANSWER_BYTES:
            return Handshake.BROKEN_OFF, b""
        if answer.will_close:
            self.close()
        return Handshake.DONE, told

    def _connected(self) -> http.client.HTTPConnection:
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        connection.connect()
        self._http, self._socket = connection, connection.sock
        return connection
