"""Histories in files: written whole or not at all, and known again by what is in them."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

from heflwr.flower.history import lines, tables
from heflwr.flower.history.contents import Contents

_PARQUET_BEGINS = b"PAR1"


def save(contents: Contents, path: str | os.PathLike[str]) -> None:
    """Write a history; a file of that name is replaced once the new one is whole.

    Args:
        contents: The run.
        path: Its ending says the format: .jsonl, .csv or .parquet. Its directory is created where there is none.

    Raises:
        ValueError: Another ending.
        ImportError: .parquet without pyarrow.
        OSError: It cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link is written through, not replaced
    write = _WRITERS.get(Path(path).suffix.lower())
    if write is None:
        raise ValueError(f"the file's ending must be one of {', '.join(_WRITERS)}, got {os.fspath(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.unfinished")
    try:
        with unfinished.open("xb") as file:
            write(contents, file)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave an empty file under the right name
        unfinished.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def load(path: str | os.PathLike[str]) -> Contents:
    """Read what `save` or `HistoryFile` wrote, in whichever format it is.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no history, or one of a later heflwr.
        ImportError: It is Parquet, and there is no pyarrow.
    """
    with open(path, "rb") as file:
        begins = file.read(len(tables.FIRST_COLUMNS[0]) + 1)
    try:
        if begins.startswith(_PARQUET_BEGINS):
            return tables.read_parquet(path)
        with open(path, encoding="utf-8", errors="replace", newline="") as text:
            is_table = begins == f"{tables.FIRST_COLUMNS[0]},".encode()
            return tables.read_csv(text) if is_table else lines.read(text)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is no history of heflwr that this version can read: {error}") from error


def _as_text(write: Callable[[Contents, TextIO], None]) -> Callable[[Contents, BinaryIO], None]:
    def write_text(contents: Contents, file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        write(contents, text)
        text.detach()  # flushes; the file is closed by whoever opened it

    return write_text


def _write_lines(contents: Contents, file: TextIO) -> None:
    file.write(lines.header())
    file.writelines(map(lines.message, contents.entries))
    file.writelines(lines.rest(contents))


_WRITERS: dict[str, Callable[[Contents, BinaryIO], None]] = {
    ".jsonl": _as_text(_write_lines),
    ".csv": _as_text(tables.write_csv),
    ".parquet": tables.write_parquet,
}
