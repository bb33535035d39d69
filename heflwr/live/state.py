"""What a coordinator of the live channel keeps in a file, so that it goes on after its process has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon import checkpoint
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import generation
from heflwr.live.errors import Unavailable

if TYPE_CHECKING:
    from heflwr.live.watches import Watches

SAVED_SECONDS = 1.0
"""How old a change may be before it is stored."""

SAVED_GENERATIONS = 256
"""A restarted coordinator skips 1,024 generations: the file must be younger than that."""


@dataclass(frozen=True)
class Kept:
    """What is in the file.

    Args:
        session: Drawn by the first coordinator of the file.
        indices: By identifier.
        functions: The state of each function, in the list's order.
    """

    session: int
    indices: dict[str, int]
    functions: list[dict[str, Any]]


class StateFile:
    """Reads and writes the state, all or nothing, and knows when it is time to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: tuple[object, ...] = ()
        self._generations: list[int] = []
        self._saved_at = -np.inf

    def is_due(self, now: float, versions: Sequence[int], agents: int) -> bool:
        """Whether the state has changed, and is old enough or has gone on far."""
        if (tuple(versions), agents) == self._saved:
            return False
        far = [
            abs(generation(new) - old) >= SAVED_GENERATIONS
            for new, old in zip(versions, self._generations, strict=False)
        ]
        return now - self._saved_at >= SAVED_SECONDS or any(far)

    def read(self, watches: Watches) -> Kept | None:
        """Return what is there; None where there is no file.

        Raises:
            Unavailable: It is of other functions, or none, or cannot be read.
        """
        try:
            arrays = checkpoint.read(self._path)
        except (OSError, MalformedMessage) as error:
            raise Unavailable(f"cannot go on from {self._path}: {error}; remove it, or give another file") from error
        if arrays is None:
            self._try_to_write()
            return None
        try:
            fingerprint = str(arrays["fingerprint"])
            if fingerprint != watches.fingerprint:
                raise Unavailable(
                    f"{self._path} is the state of other functions (list {fingerprint}, this one is "
                    f"{watches.fingerprint}); remove it to begin anew, or give another file"
                )
            indices = dict(zip(arrays["identifiers"].tolist(), arrays["indices"].tolist(), strict=True))
            functions = [
                {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{number}/")}
                for number in range(len(watches))
            ]
            return Kept(int(arrays["session"]), indices, functions)
        except (KeyError, ValueError, TypeError) as error:
            raise Unavailable(f"{self._path} is no state of a live coordinator: {error}") from error

    def _try_to_write(self) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")  # where checkpoint.write() begins
        try:
            beside.touch()
            beside.unlink()
        except OSError as error:
            raise Unavailable(
                f"cannot keep the state in {self._path}: {error.strerror}; choose another file, or create its directory"
            ) from error

    def write(self, watches: Watches, kept: Kept, versions: Sequence[int], now: float) -> None:
        """Store the state.

        Raises:
            OSError: It cannot be written.
        """
        self._saved_at = now  # a full disk is tried again later, not at once
        arrays: dict[str, Any] = {
            "fingerprint": np.array(watches.fingerprint),
            "session": np.array(kept.session),
            "identifiers": np.array(list(kept.indices), dtype=np.str_),
            "indices": np.array(list(kept.indices.values()), dtype=np.int64),
        }
        for number, function in enumerate(kept.functions):
            arrays |= {f"{number}/{name}": np.asarray(values) for name, values in function.items()}
        checkpoint.write(self._path, arrays)
        self._saved = (tuple(versions), len(kept.indices))
        self._generations = [generation(version) for version in versions]
