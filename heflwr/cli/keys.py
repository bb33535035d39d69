"""`heflwr keys`: make CURVE keys for the live channel, and let agents in."""

from __future__ import annotations

import sys
from pathlib import Path

from heflwr.live.errors import LiveError
from heflwr.live.keys import AGENTS, SECRET, Accepted, add, new, own


def make(folder: Path, coordinator: str | None) -> int:
    """`heflwr keys new`."""
    try:
        public = new(folder, coordinator)
    except LiveError as error:
        return _failed(error)
    print(public)
    _note(f"{folder / SECRET} stays here; the public key above is for the other side")
    return 0


def let_in(folder: Path, name: str, key: str) -> int:
    """`heflwr keys add`."""
    try:
        add(folder, name, key)
    except (LiveError, ValueError) as error:
        return _failed(error)
    _note(f"{name} may connect; to shut it out remove {folder / AGENTS / name}.pub")
    return 0


def show(folder: Path) -> int:
    """`heflwr keys show`."""
    try:
        print(own(folder).public)
        accepted = Accepted(folder)
    except LiveError as error:
        return _failed(error)
    for name, key in accepted.agents:
        print(f"{key}  {name}")
    return 0


def _note(text: str) -> None:
    print(f"heflwr: {text}", file=sys.stderr)


def _failed(error: Exception) -> int:
    _note(str(error))
    return 1
