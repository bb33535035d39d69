"""What has to survive a restart of the server, as a file: every coordinator's state, and whose list it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon import checkpoint

if TYPE_CHECKING:
    from heflwr.flower.watch.lines import Line

Arrays = dict[str, Any]


def to_arrays(fingerprint: bytes, lines: Sequence[Line]) -> Arrays:
    """Return the state of all functions as named arrays."""
    arrays: Arrays = {"fingerprint": np.frombuffer(fingerprint, dtype=np.uint8)}
    for place, line in enumerate(lines):
        arrays |= {f"{place}.{name}": value for name, value in line.coordinator.state.items()}
    return arrays


def write(path: Path, arrays: Arrays) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(path, arrays)


def restore(path: Path, fingerprint: bytes, lines: Sequence[Line]) -> bool:
    """Have the coordinators go on from a file; return False where there is none.

    Raises:
        MalformedMessage: It is damaged, or something else.
        ValueError: It is of another list of functions.
        OSError: It cannot be read.
    """
    arrays = checkpoint.read(path)
    if arrays is None:
        return False
    if arrays.get("fingerprint", np.empty(0)).tobytes() != fingerprint:
        raise ValueError(f"{path} is of another list of functions, it is not used; this run will replace it")
    for place, line in enumerate(lines):
        head = f"{place}."
        state = {name.removeprefix(head): value for name, value in arrays.items() if name.startswith(head)}
        line.coordinator.restore(state)
        line.answer = line.coordinator.answer
    return True
