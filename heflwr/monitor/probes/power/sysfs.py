"""Reading sysfs: a file, a word or a number."""

from __future__ import annotations


def read_word(path: str) -> str:
    """Return the file's text without the white space around it. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read(4096).decode("utf-8", "replace").strip()


def read_number(path: str) -> int:
    """Return the file's whole number. Raises OSError, also where it holds something else."""
    word = read_word(path)
    try:
        return int(word)
    except ValueError as error:
        raise OSError(f"{path} holds {word[:40]!r}, not a number") from error


def why(error: OSError) -> str:
    """Return the system's own words for what went wrong."""
    return error.strerror or str(error)
