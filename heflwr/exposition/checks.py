"""Checks at the door of a server of metrics: a wrong text, label, file or password raises in the constructor."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Set
from pathlib import Path

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # what every Prometheus takes; quoted UTF-8 names need version 3


def text(name: str, value: str) -> str:
    """Return `value` if it is a string that can be sent; raise TypeError or ValueError otherwise."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r} ({type(value).__name__})")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be text that UTF-8 can carry, got {value!r}: {error.reason}") from error
    return value


def label(name: str, value: str, taken: Set[str]) -> tuple[str, str]:
    """Return a label if Prometheus takes it, and its name is not taken; raise TypeError or ValueError otherwise."""
    if not _LABEL.fullmatch(text("a label's name", name)):
        raise ValueError(f"label {name!r} must begin with a letter and hold only letters a-z, digits and _")
    if name in taken or name.startswith("__"):
        raise ValueError(f"label {name!r} is taken (as are {', '.join(sorted(taken))} and __*); choose another name")
    return name, text(f"label {name!r}", value)


def file(name: str, value: str | os.PathLike[str] | None) -> Path | None:
    """Return the path of a file that exists, or None for None; raise ValueError otherwise."""
    if value is None:
        return None
    path = Path(value).absolute()
    if not path.is_file():
        raise ValueError(f"{name} must be a PEM file that exists, got {str(value)!r} ({path})")
    return path


def token(username: str | None, password: str | None) -> bytes | None:
    """Return what an authorized client sends (name:password in base64), None where everybody may read.

    Raises TypeError or ValueError where the two do not say which of both, and never tells the password.
    """
    if username is None and password is None:
        return None
    if not username or not password:
        raise ValueError(
            f"username and password go together and are not empty, got username={username!r} and "
            f"{'an empty' if password == '' else 'no' if password is None else 'a'} password; give both, or neither"
        )
    if ":" in text("username", username):
        raise ValueError(f"username must not hold a colon, got {username!r}: basic authentication ends it there")
    return base64.b64encode(f"{username}:{text('password', password)}".encode())
