"""The settings of the command, as one table: a flag, a variable and a line of a TOML file each.

A flag wins over the environment, the environment over the file, the file over the default.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heflwr.collector.app import RATE
from heflwr.collector.events import LISTENERS_MAX
from heflwr.collector.fleet import LOST_SECONDS
from heflwr.collector.store.store import CLIENTS_MAX, MINUTE_DAYS, RAW_DAYS, RUN_DAYS

PREFIX = "HEFLWR_COLLECTOR_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: In the file; as a flag with dashes, in the environment in capitals behind the prefix.
        type: str, int or float.
        default: None where there is none.
        help: What it is.
        range: Least and greatest value of a number.
    """

    name: str
    type: type
    default: Any
    help: str
    range: tuple[float, float] = (0, 1e12)


SETTINGS = (
    Setting("host", str, "127.0.0.1", "address to listen on; the default is reached from this machine only"),
    Setting("port", int, 5000, "TCP port, 0 picks one", (0, 65535)),
    Setting("database", str, "heflwr.db", "SQLite file, or postgresql://user@host/name"),
    Setting("token", str, None, f"bearer token that may do everything; `ps` shows it, {PREFIX}TOKEN is not shown"),
    Setting("certfile", str, None, "certificate chain in PEM: serve HTTPS"),
    Setting("keyfile", str, None, "private key of the certificate, where it is in a file of its own"),
    Setting("rate", float, RATE, "requests a second from one token, or one address without; 0 for no limit"),
    Setting("clients", int, CLIENTS_MAX, "most identifiers that are taken", (1, 10_000_000)),
    Setting("listeners", int, LISTENERS_MAX, "most pages that are told of news at a time", (0, 1_000)),
    Setting("lost_seconds", float, LOST_SECONDS, "a client that was silent for so long is lost"),
    Setting("raw_days", float, RAW_DAYS, "days that raw samples and log lines stay", (0.01, 100_000)),
    Setting("minute_days", float, MINUTE_DAYS, "days that one-minute sums, windows, functions stay", (0.01, 100_000)),
    Setting("run_days", float, RUN_DAYS, "days that a run stays after it was last heard of", (0.01, 100_000)),
    Setting("proxy", str, None, "address of a reverse proxy whose X-Forwarded-For and -Proto are believed"),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


class SettingError(ValueError):
    """A setting is not what it must be; the text says which, where from, and what is allowed."""


def add_flags(parser: argparse.ArgumentParser, names: Sequence[str] = tuple(_BY_NAME)) -> None:
    """Let a parser take the flags of these settings, and that of the file."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML file of settings; also {PREFIX}CONFIG")
    for setting in (_BY_NAME[name] for name in names):
        default = "" if setting.default is None else f" (default: {setting.default})"
        parser.add_argument(_flag(setting), metavar=setting.name.upper(), help=f"{setting.help}{default}")


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return every setting, from where it has been set.

    Args:
        flags: Text by name, None where a flag was not given; "config" may name the file.
        environment: Of the process.

    Raises:
        SettingError: A value is wrong, or the file cannot be read or has a setting that does not exist.
    """
    path = flags.get("config") or environment.get(f"{PREFIX}CONFIG")
    file = {} if not path else _file(path)
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        variable = PREFIX + setting.name.upper()
        flag = flags.get(setting.name)
        if flag is not None:
            found[setting.name] = _value(setting, flag, _flag(setting))
        elif environment.get(variable):
            found[setting.name] = _value(setting, environment[variable], variable)
        elif setting.name in file:
            found[setting.name] = _value(setting, file[setting.name], f"{setting.name} in {path}")
        else:
            found[setting.name] = setting.default
    return found


def _flag(setting: Setting) -> str:
    return f"--{setting.name.replace('_', '-')}"


def _file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"{path} is not TOML: {error}") from error
    for name in found:
        if name not in _BY_NAME:
            raise SettingError(f"{path} has {name[:40]!r}, which is no setting; choose from {', '.join(_BY_NAME)}")
    return found


def _value(setting: Setting, given: Any, source: str) -> Any:
    if setting.type is str:
        if not isinstance(given, str):
            raise SettingError(f"{source} must be a text, got {given!r}")
        if not given:
            raise SettingError(f"{source} must not be empty; leave it out instead")
        return given
    try:
        if isinstance(given, bool) or (setting.type is int and isinstance(given, float)):
            raise ValueError
        value = setting.type(given)
    except (TypeError, ValueError):
        kind = "an integer" if setting.type is int else "a number"
        raise SettingError(f"{source} must be {kind}, got {given!r}") from None
    lowest, highest = setting.range
    if not lowest <= value <= highest:
        raise SettingError(f"{source} must be from {lowest:.10g} to {highest:.10g}, got {given}")
    return value
