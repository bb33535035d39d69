"""Who can be scraped: monitors that registered, each for a lease, in the form of Prometheus' HTTP service discovery.

A collector that restarts knows nobody, and knows everybody again after a third of a lease: clients renew by themselves.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from heflwr.collector.records import Refusal

LEASE_SECONDS = 300.0
"""How long a registration holds that does not say: three renewals may be lost."""

LEASE_MAX = 3600.0
"""Longest lease; a client that died stays a target for so long."""

TARGETS_MAX = 10_000
"""Most targets; a list of so many has 2 MB, which Prometheus fetches once a minute."""

LABELS_MAX = 32
TEXT_LENGTH = 256
"""Longest identifier, host and value of a label, characters."""

_RUN = re.compile(r"[0-9A-Za-z_-]{1,64}")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?")
_ADDRESS_6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_SCHEMES = ("http", "https")
_KEYS = ("identifier", "run", "target", "labels", "lease")


@dataclass(frozen=True, slots=True)
class Registration:
    """What a client asks for.

    Attributes:
        identifier: Who is measured.
        run: The start() of its monitor.
        target: Where it can be scraped, "host:port" or "[IPv6]:port".
        labels: (name, value) pairs for the target; "__scheme__" is "http" or "https".
        lease: Seconds that it holds; 0 ends it.
    """

    identifier: str
    run: str
    target: str
    labels: tuple[tuple[str, str], ...] = ()
    lease: float = LEASE_SECONDS


def parse_registration(message: Any) -> Registration:
    """Return what a body's JSON asks for, every value checked. Raises Refusal (400) where it cannot be meant."""
    if not isinstance(message, dict):
        raise _refused("shape", "the body must be a JSON object")
    for key in message:
        if key not in _KEYS:
            raise _refused("shape", f"there is no key {key[:40]!r}; choose from {', '.join(_KEYS)}")
    run = _text("run", message.get("run"))
    if not _RUN.fullmatch(run):
        raise _refused("run", f"run must match {_RUN.pattern}, got {run[:40]!r}")
    lease = message.get("lease", LEASE_SECONDS)
    if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0 <= lease <= LEASE_MAX:
        raise _refused("lease", f"lease must be from 0 to {LEASE_MAX:.0f} seconds")
    return Registration(
        identifier=_text("identifier", message.get("identifier")),
        run=run,
        target=_target(message.get("target")),
        labels=_labels(message.get("labels", {})),
        lease=float(lease),
    )


def _target(value: Any) -> str:
    """Return an address that is one and nothing else: it becomes part of the URL that Prometheus fetches."""
    host, colon, port = _text("target", value).rpartition(":")
    if not colon or not (_NAME.fullmatch(host) or _ADDRESS_6.fullmatch(host)):
        raise _refused("target", f"target must be 'host:port' or '[IPv6 address]:port', got {value[:60]!r}")
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise _refused("target", f"target's port must be from 1 to 65535, got {port[:40]!r}")
    return f"{host}:{port}"


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or len(value) > LABELS_MAX:
        raise _refused("labels", f"labels must be an object of at most {LABELS_MAX} entries")
    for name, text in value.items():
        if name == "__scheme__":
            if text not in _SCHEMES:
                raise _refused("labels", f"__scheme__ must be one of {', '.join(_SCHEMES)}")
        elif not _LABEL.fullmatch(name):
            raise _refused("labels", f"a label's name must match {_LABEL.pattern}, or be __scheme__, got {name[:40]!r}")
        else:
            _text(f"label {name}", text)
    return tuple(sorted(value.items()))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_LENGTH:
        raise _refused(name.partition(" ")[0], f"{name} must be a string of 1 to {TEXT_LENGTH} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _refused("text", f"{name} holds half a surrogate pair, which is not Unicode text") from error
    return value


def _refused(reason: str, text: str) -> Refusal:
    return Refusal(400, reason, text)


class Targets:
    """The registrations that hold now, one an identifier and target; from any thread."""

    def __init__(self, *, limit: int = TARGETS_MAX, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none.

        Args:
            limit: Most registrations at a time.
            clock: Monotonic seconds.
        """
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], tuple[Registration, float]] = {}

    def register(self, registration: Registration) -> float:
        """Begin or renew a lease, or end it where it is 0; return its seconds.

        A later run of the same client on the same target takes the place of a former one, and is not ended by it.

        Raises:
            Refusal: 429, there are too many.
        """
        key = registration.identifier, registration.target
        now = self._clock()
        with self._lock:
            if not registration.lease:
                if key in self._held and self._held[key][0].run == registration.run:
                    del self._held[key]
                return 0.0
            if key not in self._held and len(self._held) >= self._limit:
                self._forget(now)
                if len(self._held) >= self._limit:
                    raise Refusal(429, "targets", f"there are {self._limit} targets already; come back later")
            self._held[key] = registration, now + registration.lease
        return registration.lease

    def service_discovery(self) -> list[dict[str, Any]]:
        """Return the targets as Prometheus' http_sd_configs reads them.

        Who it is goes into labels that Prometheus shows while it relabels and then drops: a target's metrics have an
        `identifier` of their own.
        """
        with self._lock:
            self._forget(self._clock())
            held = [registration for registration, _ in self._held.values()]
        return [
            {
                "targets": [registration.target],
                "labels": {
                    **dict(registration.labels),
                    "__meta_heflwr_identifier": registration.identifier,
                    "__meta_heflwr_run": registration.run,
                },
            }
            for registration in held
        ]

    def _forget(self, now: float) -> None:
        """Let go of leases that have run out."""
        self._held = {key: held for key, held in self._held.items() if held[1] > now}
