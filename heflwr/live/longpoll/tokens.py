"""Tokens made of an agent's secret key, which never leaves its machine; a coordinator keeps their digests."""

from __future__ import annotations

import hashlib

_PURPOSE = b"heflwr live token\0"


def token_of(secret: str) -> str:
    """Return the token of a secret key, 64 hexadecimal digits."""
    return hashlib.sha256(_PURPOSE + bytes.fromhex(secret)).hexdigest()


def digest_of(token: str) -> str:
    """Return what a coordinator knows a token by: it stands in for a public key."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
