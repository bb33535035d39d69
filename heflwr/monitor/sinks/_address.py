"""Checks at the door of everything that sends: where to, and with which secret."""

from __future__ import annotations

import os
from urllib.parse import urlsplit


def http_url(name: str, value: str, secret: str = "token") -> str:
    """Return an address as a URL without a slash at its end; raise TypeError or ValueError where it is none.

    Args:
        name: What the caller knows it as.
        value: "name:port", or a URL with http:// or https://; a path is kept.
        secret: The argument for what must not be part of it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r} ({type(value).__name__})")
    way_out = "write 'name:port', 'http://name:port' or 'https://name:port'"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{name} must be an address, got {value!r} ({error}); {way_out}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(f"{name} must be an address, got {value!r}; {way_out}")
    if "://" not in value and port is None:
        raise ValueError(f"{name} has no port, got {value!r}; write '{value.rstrip(':/')}:5000', or a URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{name} must be an address alone; {way_out}, and give a secret as {secret}=")
    return parts.geturl().rstrip("/")


def token(name: str, value: str | None) -> str | None:
    """Return a token that a header can carry, or None for None; raise TypeError or ValueError, which never tell it."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {type(value).__name__}")
    if value is not None and (not value or not value.isascii() or not value.isprintable() or " " in value):
        raise ValueError(f"{name} must be visible ASCII characters without blanks; it travels in a header")
    return value


def verify(value: bool | str | os.PathLike[str]) -> bool | str:
    """Return how to check a server's certificate, a path made absolute; raise TypeError for anything else."""
    if not isinstance(value, (bool, str, os.PathLike)):
        raise TypeError(f"verify must be True, False or a path, got {value!r} ({type(value).__name__})")
    return value if isinstance(value, bool) else os.path.abspath(value)
