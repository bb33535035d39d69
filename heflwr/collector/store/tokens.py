"""Bearer tokens: shown once when they are made, kept as digests.

A token is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from heflwr.collector.store.database import Connection

PREFIX = "heflwr_"
"""What a token begins with, so that one that got into a repository is recognised there."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token.

    Attributes:
        name: The identifier that it may write, or who reads.
        may: "write" or "read".
        digest: SHA-256 of it, hexadecimal.
        created: Unix seconds.
    """

    name: str
    may: str
    digest: str
    created: float


def digest(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def add_token(writer: Connection, name: str, may: str, now: float) -> str:
    """Make a token, in the place of one of the same name and kind; return it for the only time."""
    token = PREFIX + secrets.token_urlsafe(32)
    writer.execute(
        "INSERT INTO tokens VALUES (?, ?, ?, ?) ON CONFLICT (name, may) DO UPDATE"
        " SET digest = excluded.digest, created = excluded.created",
        (name, may, digest(token), now),
    )
    return token


def revoke_token(writer: Connection, name: str) -> int:
    """Forget the tokens of a name; return how many those were."""
    return writer.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount


def tokens(reader: Connection) -> list[Token]:
    """Return all, by name."""
    return [Token(*row) for row in reader.execute("SELECT name, may, digest, created FROM tokens ORDER BY name, may")]
