"""Keys of CURVE (CurveZMQ, rfc.zeromq.org/spec/26): pairs, and who is let in (ZAP, rfc.zeromq.org/spec/27)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 32

DOMAIN = b"heflwr"
_INBOX = "inproc://zeromq.zap.01"
_KEY_FORM = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")
_MECHANISM, _KEY = 5, 6
"""Where in a request the mechanism and the key are."""


@dataclass(frozen=True)
class KeyPair:
    """A public key, for everybody, and its secret one; each 64 hexadecimal digits, which no shell stumbles over."""

    public: str
    secret: str = field(repr=False)


def new_pair() -> KeyPair:
    """Return a pair that nobody else has."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public).hex(), z85.decode(secret).hex())


def public_of(secret: str) -> str:
    """Return the public key of a secret one.

    Raises:
        ValueError: It is no key.
    """
    return z85.decode(zmq.curve_public(z85.encode(bytes.fromhex(checked(secret))))).hex()


def checked(key: str) -> str:
    """Return `key` if it is one; raise ValueError otherwise, without saying it."""
    if not _KEY_FORM.fullmatch(key):
        raise ValueError(f"a key has {2 * KEY_BYTES} hexadecimal digits, 0-9 and a-f; got {len(key)} characters")
    return key


class Gatekeeper:
    """Answers ZeroMQ's question, once a connection, who may come in; whoever owns it polls `socket`.

    Args:
        context: Of the socket that asks.
        name_of: From a public key to the name that its owner is known by; None: not let in.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], name_of: Callable[[str], str | None]) -> None:
        self._name_of = name_of
        self.socket = context.socket(zmq.REP)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(_INBOX)

    def answer(self) -> None:
        """Answers all that was asked."""
        while True:
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            name = self._look_up(request)
            verdict = [b"400", b"unknown key", b""] if name is None else [b"200", b"OK", name.encode()]
            self.socket.send_multipart([*request[:2], *verdict, b""])

    def close(self) -> None:
        """Answers no more."""
        self.socket.close(0)

    def _look_up(self, request: Sequence[bytes]) -> str | None:
        if len(request) != _KEY + 1 or request[_MECHANISM] != b"CURVE" or len(request[_KEY]) != KEY_BYTES:
            return None
        return self._name_of(request[_KEY].hex())
