"""Tells a collector where this monitor can be scraped, and tells it again before it would forget.

A thread of its own does it: neither start() nor a scrape nor a sample waits for the collector, and whatever goes wrong
there is only told in `monitor.health`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from heflwr.monitor import arguments
from heflwr.monitor.sinks import _address
from heflwr.monitor.sinks._http import Connection, Server, Trouble, jitter, loading, pause_after, reason, told

LEASE_SECONDS = 300.0
"""How long the collector shall remember: three tries fall into it."""

BACKOFF_SECONDS = (1.0, 60.0)
"""Pause after the first failure, doubled up to the second number; half of it is random."""

TIMEOUT_SECONDS = 5.0

GOODBYE_SECONDS = 0.5
"""Longest that close() waits for the collector to hear that this target is gone; else its lease runs out."""

PATH = "/api/v1/targets"

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Registration:
    """Where to register, and as what.

    Attributes:
        server: The collector.
        host: Name or address to tell, IPv6 in brackets; "" for the local address of the route to the collector.
        port: Port to tell, 0 for the one that is listened on.
    """

    server: Server
    host: str
    port: int

    @classmethod
    def checked(cls, register: str, token: str | None, advertise: str | None, listening: str) -> Registration:
        """Return what the user's arguments ask for. Raises ValueError or TypeError.

        Args:
            register: The collector, "name:port" or a URL.
            token: Its bearer token.
            advertise: "host" or "host:port", where the monitor is reached from elsewhere.
            listening: The host that the monitor listens on, "" for all interfaces.
        """
        token = _address.token("register_token", token)
        url = _address.http_url("register", register, "register_token")
        server = Server(url, None if token is None else f"Bearer {token}", True, TIMEOUT_SECONDS)
        if advertise is None:
            return cls(server, "" if listening in _WILDCARDS else _bracketed(listening), 0)
        if not isinstance(advertise, str):
            raise TypeError(f"advertise must be a string, got {advertise!r} ({type(advertise).__name__})")
        found = _HOST_PORT.fullmatch(advertise)
        if found is None:
            raise ValueError(f"advertise must be 'host' or 'host:port', '[IPv6]' in brackets, got {advertise!r}")
        port = found["port"]
        return cls(
            server, found["host"], 0 if port is None else arguments.integer("advertise's port", int(port), 1, 65535)
        )


class Registrar:
    """Keeps one target registered between start() and close()."""

    def __init__(self, registration: Registration, *, identifier: str, run: str, port: int, is_https: bool) -> None:
        self._registration = replace(registration, port=registration.port or port)
        self._message = {
            "identifier": identifier.encode("utf-8", "backslashreplace").decode(),
            "run": run,
            "labels": {"__scheme__": "https"} if is_https else {},
        }
        self._target = ""  # the one that the collector knows, until then
        self._until = 0.0
        self._last_error = ""
        self._stays = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heflwr-registrar", daemon=True)

    def start(self) -> None:
        """Begin. Raises RuntimeError where the system has no thread left."""
        loading()
        self._thread.start()

    def stay(self) -> None:
        """Let close() leave the target on the list, until its lease runs out."""
        self._stays = True

    def close(self, seconds: float = GOODBYE_SECONDS) -> None:
        """Withdraw the target, for so many seconds at most; a hanging request is left to itself."""
        self._closing.set()
        self._thread.join(seconds)

    def facts(self) -> dict[str, Any]:
        """Return where it is registered, as what ("" while it is not), and the latest trouble."""
        target = self._target if time.monotonic() < self._until else ""
        return {"url": self._registration.server.url, "target": target, "last_error": self._last_error}

    def _run(self) -> None:
        failures = 0
        pause = 0.0
        with contextlib.ExitStack() as stack:
            connection: Connection | None = None
            while not self._closing.wait(pause):
                try:
                    connection = connection or stack.enter_context(
                        contextlib.closing(Connection(self._registration.server))
                    )
                    self._register(connection)
                    failures, pause = 0, LEASE_SECONDS / 3 * jitter()
                except Exception as error:  # a network can fail in a hundred ways; all mean: later
                    pause = pause_after(failures, BACKOFF_SECONDS, error)
                    failures += 1
                    self._last_error = told(self._registration.server.url, error)
            if connection is not None and self._target and not self._stays:
                with contextlib.suppress(Exception):  # its lease runs out
                    self._post(connection, self._target, lease=0.0, timeout=GOODBYE_SECONDS)
                    self._target = ""

    def _register(self, connection: Connection) -> None:
        host = self._registration.host or _route_to(self._registration.server.url)
        target = f"{host}:{self._registration.port}"
        asked_at = time.monotonic()
        self._post(connection, target, lease=LEASE_SECONDS, timeout=TIMEOUT_SECONDS)
        self._target, self._until = target, asked_at + LEASE_SECONDS

    def _post(self, connection: Connection, target: str, *, lease: float, timeout: float) -> None:
        body = json.dumps({**self._message, "target": target, "lease": lease}).encode()
        answer = connection.post(PATH, body, "application/json", timeout)
        if answer.status != 200:
            url = self._registration.server.url
            raise Trouble(f"{url} answered {answer.status}: {reason(answer.body)}", answer.pause)


def _route_to(url: str) -> str:
    """Return this machine's address on the way to a server: who reaches it from there reaches us. Raises OSError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    family, kind, protocol, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # sends nothing
        return _bracketed(probe.getsockname()[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
