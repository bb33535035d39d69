"""The logger "heflwr" and its handlers. This is the one module that acts on import: it adds the console."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from datetime import datetime
from typing import TextIO

from heflwr.log._http import HttpHandler

IDENTIFIER_LENGTH = 256
"""Longest identifier, in characters, that a collector takes."""

_LAYOUT = "%(levelname)s %(name)s %(asctime)s | %(filename)s:%(lineno)d | %(message)s"
_NAME = "heflwr-log"
"""Name of our handlers: those of the user on the same logger are left alone."""

logger = logging.getLogger("heflwr")
log = logger.log


class _Formatter(logging.Formatter):
    """One line with an ISO time and zone, after a prefix in which every character stands for itself."""

    def __init__(self, identifier: str) -> None:
        super().__init__(_LAYOUT)
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in identifier)
        self._prefix = f"{shown} | " if shown else ""

    def format(self, record: logging.LogRecord) -> str:
        return self._prefix + super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class _Console(logging.StreamHandler[TextIO]):
    """Writes to what sys.stdout is at the moment: notebooks and test runners change it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute in the base class
        return sys.stdout


def configure(
    identifier: str,
    file: str | os.PathLike[str] | None = None,
    host: str | None = None,
    simple: bool | None = None,
    *,
    token: str | None = None,
    verify: bool | str = True,
    timeout: float = 5.0,
) -> None:
    """Say who logs and where lines go besides the console. Replaces what an earlier call set.

    Args:
        identifier: In front of every line, and sent along; any characters, 1 to 256 of them.
        file: Append to this file as well (UTF-8).
        host: Send to this collector as well: "name:port", or a URL with http:// or https://.
        simple: True sends identifier, time and message to /simple_log; False or None adds level, logger, file, line,
            function, host, pid, thread and exception and sends to /log.
        token: Bearer token of the collector.
        verify: Check the server's certificate; a path (PEM) names the authority to trust.
        timeout: Seconds to wait for the collector, > 0.

    Raises:
        ValueError, TypeError: A wrong argument.
        OSError: The file, or the authority's certificate, cannot be had. The earlier configuration stays.
    """
    if not isinstance(identifier, str):
        raise TypeError(f"identifier must be a string, got {identifier!r} ({type(identifier).__name__})")
    if not 1 <= len(identifier) <= IDENTIFIER_LENGTH:
        raise ValueError(f"identifier must have 1 to {IDENTIFIER_LENGTH} characters, got {len(identifier)}")
    handlers: list[logging.Handler] = [_Console()]
    if host is not None:
        handlers.append(HttpHandler(identifier, host, bool(simple), token=token, verify=verify, timeout=timeout))
    elif simple is not None:
        warnings.warn("simple says how to send, but there is no host to send to", UserWarning, stacklevel=2)
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    _install(handlers, _Formatter(identifier))


def _install(handlers: list[logging.Handler], formatter: logging.Formatter) -> None:
    former = [handler for handler in logger.handlers if handler.get_name() == _NAME]
    for handler in former:
        logger.removeHandler(handler)
    for handler in handlers:
        handler.set_name(_NAME)
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    for handler in former:
        handler.close()


_install([_Console()], _Formatter(""))
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
