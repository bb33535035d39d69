"""Lines as datagrams to one address: each is sent or lost at once, and nobody says which."""

from __future__ import annotations

import socket
from typing import Any

from heflwr.monitor.errors import SinkUnavailable


class Datagrams:
    """A connected UDP socket that never waits; a row is a datagram, 300 bytes or, with every metric there is, 800."""

    def __init__(self, host: str, port: int) -> None:
        """Look up the host, and take a socket.

        Raises:
            SinkUnavailable: One of both cannot be had.
        """
        self._url = f"udp://{f'[{host}]' if ':' in host else host}:{port}"
        self._sent = self._dropped = 0
        self._last_error = ""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:
            raise SinkUnavailable(f"cannot send to {self._url}: {error}; give another address") from error
        try:
            self._socket.setblocking(False)
            self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise SinkUnavailable(f"cannot send to {self._url}: {error}; give another address") from error

    def add(self, row: str) -> None:
        """Send a row, or count it as dropped."""
        for _ in range(2):
            try:
                self._socket.send(f"{row}\n".encode())
            except ConnectionRefusedError:  # tells of the one before, and this one has not been sent
                self._sent -= 1
                self._drop(f"nobody listens at {self._url}")
            except OSError as error:
                self._drop(str(error))
                return
            else:
                self._sent += 1
                return
        self._drop(self._last_error)

    def close(self, seconds: float) -> None:
        """Give the socket back; nothing waits."""
        self._socket.close()

    def facts(self, sink: str) -> dict[str, Any]:
        """Return what became of the rows; the system tells of few of those that were lost."""
        return {
            "sink": sink,
            "url": self._url,
            "sent": self._sent,
            "waiting": 0,
            "dropped": self._dropped,
            "spooled": 0,
            "last_error": self._last_error,
        }

    def _drop(self, why: str) -> None:
        self._dropped += 1
        self._last_error = why
