"""Folders of CURVE keys: who the coordinator is, and which agents it takes. A secret key never leaves its machine.

FOLDER/secret.key         of the coordinator or the agent itself; mode 0600
FOLDER/public.key         what others are given
FOLDER/coordinator.pub    an agent's: the public key of its coordinator
FOLDER/agents/NAME.pub    a coordinator's: the public key of the agent NAME; without the file it is not let in

Over HTTPS an agent shows a token that is made of its secret key, and token.pub takes the place of its public key:

FOLDER/token.pub          what others are given: the token's digest
FOLDER/authority.pem      an agent's: certificates that vouch for the coordinator's; without it the system's do
FOLDER/server.pem         a coordinator's certificate, with those between it and the authority
FOLDER/server.key         its key
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from heflwr.automon.transports.zeromq.curve import KeyPair, checked, new_pair, public_of
from heflwr.live.errors import WrongKeys
from heflwr.live.longpoll.tokens import digest_of, token_of
from heflwr.monitor import arguments

SECRET, PUBLIC, COORDINATOR, AGENTS = "secret.key", "public.key", "coordinator.pub", "agents"
TOKEN, AUTHORITY, CERTIFICATE, CERTIFICATE_KEY = "token.pub", "authority.pem", "server.pem", "server.key"

_FORBIDDEN = frozenset('/\\:*?"<>|\0')
"""What a name of an agent may not hold: it is the name of a file, on any system."""


def new(folder: Path, coordinator: str | None = None) -> str:
    """Make a pair of keys in a folder, and the folder; return the public one.

    Args:
        folder: Where to.
        coordinator: For an agent: the public key of its coordinator.

    Raises:
        WrongKeys: There are keys already, it cannot be written, or `coordinator` is no key.
    """
    if coordinator is not None:
        _check(coordinator)
    pair = new_pair()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / SECRET, pair.secret, 0o600)
        _write(folder / PUBLIC, pair.public, 0o644)
        _write(folder / TOKEN, digest_of(token_of(pair.secret)), 0o644)
        if coordinator is not None:
            _write(folder / COORDINATOR, coordinator, 0o644)
    except FileExistsError as error:
        raise WrongKeys(f"{folder} has keys already ({error.filename}); choose another folder, or remove it") from error
    except OSError as error:
        raise WrongKeys(f"cannot write keys to {folder}: {error.strerror}") from error
    return pair.public


def add(folder: Path, name: str, key: str) -> None:
    """Let an agent in.

    Args:
        folder: Of the coordinator's keys.
        name: What the agent is called from now on.
        key: Its public key.

    Raises:
        WrongKeys: The name cannot be one, it is taken by another key, the key is none, or belongs to another name.
    """
    _check(key)
    arguments.identifier(name)
    if not name.isprintable() or _FORBIDDEN & set(name) or name.startswith(".") or name != name.strip():
        raise WrongKeys(f"a name must be printable, without {' '.join(sorted(_FORBIDDEN - {chr(0)}))}, got {name!r}")
    own(folder)
    known = _read_agents(folder)
    if known.get(key, name) != name:
        raise WrongKeys(f"this key is of {known[key]!r} already; each agent has a key of its own")
    path = folder / AGENTS / f"{name}.pub"
    if known.get(key) == name:
        return
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        _write(path, key, 0o644)
    except FileExistsError as error:
        raise WrongKeys(f"{name!r} has another key already; remove {path} to let the new one in") from error
    except OSError as error:
        raise WrongKeys(f"cannot write {path}: {error.strerror}") from error


def own(folder: Path) -> KeyPair:
    """Return the folder's own pair.

    Raises:
        WrongKeys: There is none, or others can read it.
    """
    path = folder / SECRET
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise WrongKeys(f"cannot read {path}: {error.strerror}; make keys with: heflwr keys new {folder}") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WrongKeys(f"others can read {path}; make new keys, or if nobody has: chmod 600 {path}")
    secret = _read(path)
    return KeyPair(public_of(secret), secret)


def coordinators(folder: Path) -> str:
    """Return the public key of an agent's coordinator.

    Raises:
        WrongKeys: There is none.
    """
    path = folder / COORDINATOR
    if not path.exists():
        raise WrongKeys(f"there is no {path}: write the coordinator's public key (its {PUBLIC}) to it")
    return _read(path)


class Accepted:
    """The agents whose keys a coordinator takes; a file that is added or removed counts within a second.

    Args:
        folder: Of the coordinator's keys.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: Mapping[str, str] = _read_agents(folder)
        self._signature = self._look()

    def refresh(self) -> None:
        """Reads the folder again where it has changed; a folder that cannot be read now stays as it was."""
        signature = self._look()
        if signature != self._signature:
            try:
                self._names = _read_agents(self._folder)
            except WrongKeys:
                return
            self._signature = signature

    def name_of(self, key: str) -> str | None:
        """Return whose key it is; None: nobody's."""
        return self._names.get(key)

    @property
    def agents(self) -> list[tuple[str, str]]:
        """Names and keys of all agents, by name."""
        return sorted((name, key) for key, name in self._names.items())

    def __contains__(self, name: str) -> bool:
        return name in self._names.values()

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        try:
            with os.scandir(self._folder / AGENTS) as entries:
                facts = ((entry.name, entry.stat()) for entry in entries)
                return tuple(sorted((name, fact.st_mtime_ns, fact.st_size) for name, fact in facts))
        except OSError:
            return ()


def _read_agents(folder: Path) -> dict[str, str]:
    """Return the names of all agents by key."""
    names: dict[str, str] = {}
    for path in sorted((folder / AGENTS).glob("*.pub")):
        key = _read(path)
        if key in names:
            raise WrongKeys(f"{path} and {names[key]}.pub hold the same key; each agent has a key of its own")
        names[key] = path.name.removesuffix(".pub")
    return names


def _read(path: Path) -> str:
    try:
        return checked(path.read_text().strip())
    except OSError as error:
        raise WrongKeys(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise WrongKeys(f"{path} holds no key: {error}") from error


def _check(key: str) -> None:
    try:
        checked(key)
    except ValueError as error:
        raise WrongKeys(str(error)) from error


def _write(path: Path, key: str, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(f"{key}\n")
