"""A SuperNode's resident agent, from the client's side: find it or start it, ask what was used since the last time.

A ClientApp's process lives for one message; the agent lives on, samples the SuperNode all the time, and is asked by the
process of the next message. Nothing here waits for it: where there is none, one is started and this message goes
without. Linux only: who sits at the other end of a socket, and who a process descends from, is read the kernel's way.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from heflwr.monitor import arguments
from heflwr.monitor.metrics import GROUPS
from heflwr.monitor.probes.tree import AGENT_MARK
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    import socket

    from heflwr.flower.watch.channel import LiveChannel

METRICS = ("cpu", "memory", "network")
"""Groups that are on unless others are named."""

IDLE_SECONDS = 600.0
"""How long the agent outlives its last client: longer than a round of most runs, shorter than a forgotten machine."""

ANSWER_SECONDS = 0.2
"""Longest that a mark waits, all in all; an agent that is well answers in a millisecond or two."""

AGAIN_SECONDS = 5.0
"""An agent that has just been started, or did not answer in time, is left in peace for so long."""

FAILED_SECONDS = 60.0
"""So long no other agent is started after one that said why it cannot run."""

LINE_BYTES = 16_384
"""Longest message in either direction."""

PROTOCOL = 1
"""Part of the socket's name: an agent of another version of heflwr is not spoken to."""

_SUPERNODES = {"flower-supernode", "flower-superexec"}
"""Programs of Flower that live on between messages."""

_BOOT = (
    "import sys,marshal;b=sys.stdin.buffer;n=int.from_bytes(b.read(4),'little') or sys.exit();"
    "sys.path+=marshal.loads(b.read(n));"
    "from heflwr.flower.client._resident_agent import main;main()"
)
"""Started with -I -S, as the sampling child of a monitor is."""


class Unavailable(Exception):
    """No answer is to be had from an agent; the text says why."""


class _Absent(Unavailable):
    """Nobody listens."""


class Resident:
    """Asks the agent of this SuperNode, or starts it. For one call; not to be shared by threads, nor pickled.

    Attributes:
        note: Why the last mark() returned None, or what its numbers lack; else "".
        facts: What the agent last said of itself: pid, sources, sinks (what each of them says), live (what it did on
            the live channel), notes.
    """

    def __init__(
        self,
        key: str,
        *,
        directory: str | os.PathLike[str] | None = None,
        sinks: Iterable[Sink] = (),
        groups: Sequence[str] = METRICS,
        interval: float = 1.0,
        idle_seconds: float = IDLE_SECONDS,
        pid: int | None = None,
        generation: str = "",
        live: LiveChannel | None = None,
    ) -> None:
        """Remember what an agent should do if one has to be started; mark() does the rest.

        Args:
            key: Who is measured; with the watched process it names the agent, and it is the sinks' identifier.
            directory: Where the socket is, private to this user; default `heflwr` in $XDG_RUNTIME_DIR, or
                `heflwr-UID` in the directory for temporary files.
            sinks: Where the agent's samples go.
            groups: Metric groups; those that the machine has no source for are left out, and `note` says so.
            interval: Seconds between samples, from 0.001.
            idle_seconds: How long the agent outlives its last client, from 0.1.
            pid: The process to watch, with its children; default the SuperNode that this process descends from.
            generation: What these settings belong to, for example Flower's run: an agent of another generation is
                replaced once its own clients have left it.
            live: What the agent tells a coordinator second by second.

        Raises:
            ValueError: An empty key, an unknown group, a number out of range.
            TypeError: A value of the wrong type.
        """
        if not isinstance(key, str):
            raise TypeError(f"key must be a string, got {key!r} ({type(key).__name__})")
        if not key:
            raise ValueError("key must not be empty; give the node's id")
        self._key = key
        self._generation = generation
        self._live = live
        self._directory = None if directory is None else os.path.abspath(directory)
        self._sinks = tuple(sinks)
        self._groups = arguments.names("groups", groups)
        for group in self._groups:
            arguments.choice("a metric group", group, tuple(GROUPS))
        self._interval = arguments.number("interval", interval, 0.001, 1e9)
        self._idle_seconds = arguments.number("idle_seconds", idle_seconds, 0.1, 1e9)
        self._pid = None if pid is None else arguments.integer("pid", pid, 1, 2**31)
        self._watched: tuple[int, int] | None = None
        self._connection: socket.socket | None = None
        self._owner = 0  # the process that opened the connection: a forked child must not speak on it
        self._started_at = self._silent_at = float("-inf")
        self.note = ""
        self.facts: dict[str, Any] = {}

    def mark(self, call: str = "") -> dict[str, float] | None:
        """Return what the SuperNode used since the previous mark of any client, or None; `note` then says why.

        Call it when a message's handling begins, and end() when it ends. Never raises for what goes wrong with an
        agent, and takes ANSWER_SECONDS at most. The numbers are named as in `cost.COLUMNS`: seconds, cpu_seconds,
        cpu_usage, memory_peak_bytes, network_bytes_sent, network_bytes_recv, and disk, GPU and energy where they are
        measured; `samples` says how many of the agent's samples they stand on, `samples_seen` how many it took so far.

        Args:
            call: What begins here; the agent's sinks are told of it as a window with this name. "": they are not.
        """
        self.note = ""
        if sys.platform != "linux":
            self.note = f"there is no resident agent on {sys.platform}, only on Linux"
            return None
        try:
            return self._numbers(self._exchange(time.monotonic() + ANSWER_SECONDS, call))
        except TimeoutError:
            self._silent_at = time.monotonic()
            self.note = f"refused: the agent did not answer within {ANSWER_SECONDS:g} s"
        except (Unavailable, OSError) as error:
            self.note = str(error)
        self.close()
        return None

    def end(self) -> None:
        """End the call: what comes now is time between calls. Waits for nothing where the call's begin was marked."""
        if self._connection is None:  # an agent that was just starting then may be there by now
            self.mark()
        self.close()

    def close(self) -> None:
        """Leave the agent, which goes on. It notices, and has a call end there that has begun; safe to repeat."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, deadline: float, call: str) -> dict[str, Any]:
        """Return the agent's reply to one mark. Raises Unavailable, OSError."""
        if time.monotonic() < self._silent_at + AGAIN_SECONDS:
            raise Unavailable("refused: the agent did not answer a moment ago")
        if self._connection is not None and self._owner == os.getpid():
            with suppress(BrokenPipeError, ConnectionResetError):  # it died: see whether there is another one
                return self._ask(self._connection, deadline, call)
        self.close()
        self._watched = self._watched or _watched(self._pid)
        path = self._directory or default_directory()
        directory = open_directory(path)
        try:
            name = self._name()
            try:
                self._connection, self._owner = _connect(directory, name, deadline), os.getpid()
                reply = self._ask(self._connection, deadline, call)
            except (_Absent, BrokenPipeError, ConnectionResetError):
                reply = {"state": "absent"}
            if reply.get("state") in ("absent", "leaving"):
                if time.monotonic() < self._started_at + AGAIN_SECONDS:
                    raise Unavailable("starting: the agent is not ready yet")
                _heed_failure(directory, name, self._generation)
                self._start(path, name, replaces=reply["state"] == "leaving")
                self._started_at = time.monotonic()
                raise Unavailable("starting: the agent has been started just now")
            return reply
        finally:
            os.close(directory)

    def _name(self) -> str:
        """Return what the agent's files are called: one agent a key and a run of the SuperNode, which is a process."""
        name = json.dumps([PROTOCOL, self._key, self._watched])
        return hashlib.sha256(name.encode()).hexdigest()[:32]

    def _ask(self, connection: socket.socket, deadline: float, call: str) -> dict[str, Any]:
        import socket

        request = json.dumps({"mark": 1, "generation": self._generation, "call": call}).encode() + b"\n"
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        connection.sendall(request, socket.MSG_NOSIGNAL)  # the user may let SIGPIPE kill
        line = bytearray()
        while not line.endswith(b"\n"):
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left)
            chunk = connection.recv(LINE_BYTES)
            if not chunk:
                raise ConnectionResetError("the agent hung up")
            line += chunk
            if len(line) > LINE_BYTES:
                raise Unavailable(f"refused: the agent's answer is longer than {LINE_BYTES} bytes")
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"refused: the agent's answer is no JSON ({type(error).__name__})") from error
        if not isinstance(reply, dict):
            raise Unavailable("refused: the agent's answer is no JSON object")
        return reply

    def _numbers(self, reply: dict[str, Any]) -> dict[str, float] | None:
        """Return a reply's numbers, None where counting has just begun. Raises Unavailable where it has none."""
        state, facts, numbers = reply.get("state"), reply.get("facts"), reply.get("numbers")
        if state == "other":
            raise Unavailable("refused: the agent serves another run, whose clients are still coming")
        if state not in ("first", "ok") or not isinstance(facts, dict) or not isinstance(numbers, dict):
            raise Unavailable("refused: the agent's answer cannot be understood")
        self.facts = facts
        self.note = str(facts.get("notes") or "")
        if state == "first":
            self.note = f"starting: the agent counts from here on; {self.note}".removesuffix("; ")
            return None
        return {
            name: float(value)
            for name, value in numbers.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }

    def _start(self, path: str, name: str, *, replaces: bool) -> None:
        """Start an agent and do not wait for it. Raises Unavailable, OSError."""
        if not sys.executable:
            raise Unavailable("refused: this interpreter does not know its own executable")
        assert self._watched is not None
        plan = {
            "directory": path,
            "name": name,
            "replaces": replaces,
            "generation": self._generation,
            "identifier": self._key.encode(errors="replace").decode()[: arguments.IDENTIFIER_LENGTH],
            "pid": self._watched[0],
            "started_ticks": self._watched[1],
            "groups": self._groups,
            "interval": self._interval,
            "idle_seconds": self._idle_seconds,
            "live": None if self._live is None else self._live.plan(),
        }
        try:
            pickled = pickle.dumps(self._sinks)
        except Exception as error:
            raise Unavailable(f"refused: a sink cannot be sent to the agent ({error})") from error
        search = marshal.dumps([str(Path(__file__).parents[2]), *map(os.path.abspath, sys.path)])
        data = len(search).to_bytes(4, "little") + search + json.dumps(plan).encode() + b"\n" + pickled
        command = [sys.executable, "-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _BOOT]
        reader, writer = os.pipe()
        try:
            try:
                os.set_blocking(writer, False)
                if os.write(writer, data) < len(data):  # before there is a reader that could die and have us signalled
                    raise BlockingIOError
            except BlockingIOError as error:
                raise Unavailable(f"refused: the sinks are too large to send, {len(data)} bytes in all") from error
            finally:
                os.close(writer)
            agent = subprocess.Popen(
                [*command, AGENT_MARK.decode(), "resident", name],  # the mark keeps it out of everybody's numbers
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("FLWR_")},
                start_new_session=True,
            )
            # What is started here hands over to its own child and ends in a moment. Nobody waits for it: its CPU time
            # would be billed to the call as a child's. It is gone with this process, which is gone with its message.
            agent.returncode = 0
        finally:
            os.close(reader)


def default_directory() -> str:
    """Return where this user's agents have their sockets, whether it exists or not."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    with suppress(OSError):
        if os.path.isabs(runtime) and os.stat(runtime).st_uid == os.geteuid():
            return os.path.join(runtime, "heflwr")
    return os.path.join(tempfile.gettempdir(), f"heflwr-{os.geteuid()}")


def open_directory(path: str) -> int:
    """Return a descriptor of a directory that is nobody else's; it is made where there is none.

    All further access goes through the descriptor, so that what has been looked at is what is used.

    Raises:
        Unavailable: It is a link, or no directory, or somebody else's, or open to others.
        OSError: It cannot be made or opened.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise Unavailable(f"refused: {path} is a link or no directory; remove it") from error
    facts = os.fstat(directory)
    if facts.st_uid == os.geteuid() and not facts.st_mode & 0o077:
        return directory
    os.close(directory)
    raise Unavailable(
        f"refused: {path} must be this user's ({os.geteuid()}) and closed to others, it is of user {facts.st_uid} with "
        f"mode {stat.S_IMODE(facts.st_mode):o}; remove it"
    )


def socket_address(directory: int, name: str) -> str:
    """Return an address of the agent's socket for connect() and bind(), short wherever the directory is."""
    return f"/proc/self/fd/{directory}/{name}.socket"


def peer_uid(connection: socket.socket) -> int:
    """Return who is at the other end (unix(7), SO_PEERCRED)."""
    import socket

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # struct ucred: pid, uid, gid
    return int.from_bytes(credentials[4:8], sys.byteorder)


def started_ticks(pid: int) -> int:
    """Return when a process started, in ticks since the machine did: with its pid, its identity. Raises OSError."""
    return int(_stat(pid)[19])  # proc_pid_stat(5), field 22


def _connect(directory: int, name: str, deadline: float) -> socket.socket:
    """Return a connection to the agent. Raises Unavailable, OSError."""
    import socket

    try:
        facts = os.stat(f"{name}.socket", dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError as error:
        raise _Absent from error
    if not stat.S_ISSOCK(facts.st_mode) or facts.st_uid != os.geteuid():
        raise Unavailable(f"refused: {name}.socket is not this user's socket; remove it")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            connection.connect(socket_address(directory, name))
        except ConnectionRefusedError as error:  # left behind by one that was killed, or not listening yet
            raise _Absent from error
        except BlockingIOError as error:
            raise Unavailable("refused: too many clients are waiting for the agent") from error
        if (uid := peer_uid(connection)) != os.geteuid():
            raise Unavailable(f"refused: user {uid} listens at the agent's socket")
    except BaseException:
        connection.close()
        raise
    return connection


def _heed_failure(directory: int, name: str, generation: str) -> None:
    """Raise Unavailable with what the last agent said, where it has just failed at the same task."""
    with suppress(OSError, ValueError), open(f"/proc/self/fd/{directory}/{name}.lock", encoding="utf-8") as file:
        last = json.loads(file.read(LINE_BYTES))
        is_recent = time.time() - os.fstat(file.fileno()).st_mtime < FAILED_SECONDS
        if is_recent and last["generation"] == generation:
            raise Unavailable(f"dead: {last['failure']}")


def _watched(pid: int | None) -> tuple[int, int]:
    """Return the process to watch and when it started. Raises Unavailable."""
    pid = pid or _supernode()
    try:
        return pid, started_ticks(pid)
    except (OSError, ValueError, IndexError) as error:
        raise Unavailable(f"refused: cannot look at process {pid}, which should be watched: {error}") from error


def _supernode() -> int:
    """Return the topmost ancestor that is a SuperNode or starts ClientApps for one, else the parent.

    Raises:
        Unavailable: There is only init, and whoever watches that watches the machine.
    """
    pid, found = os.getppid(), 0
    with suppress(OSError, ValueError, IndexError):
        while pid > 0:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read(LINE_BYTES).decode(errors="replace").split("\0")
            if _SUPERNODES.intersection(map(os.path.basename, words)):
                found = pid
            pid = int(_stat(pid)[1])
    if not found and os.getppid() == 1:
        raise Unavailable("refused: this process descends from no SuperNode; give pid=")
    return found or os.getppid()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, the state."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()
