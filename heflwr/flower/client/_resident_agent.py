"""The resident agent of a SuperNode: samples it all the time, tells each client what was used since the last mark.

Started by `resident.Resident` with its plan on stdin. One for each name: it holds a lock while it lives. It ends when
the watched process does, when nobody has come for long, on SIGTERM, and when its socket has been taken away.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import pickle
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from heflwr.flower.client.resident import (
    LINE_BYTES,
    Unavailable,
    open_directory,
    peer_uid,
    socket_address,
    started_ticks,
)
from heflwr.flower.cost import joules_of
from heflwr.flower.watch.between import Between
from heflwr.monitor import Aggregate, Monitor, MonitorError, Window
from heflwr.monitor.metrics import GROUPS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import Sink

CHECK_SECONDS = 1.0
"""How often to look at what nobody tells: idle time, silent clients, whether the socket is still there."""

SILENT_SECONDS = 2.0
"""A client that has not asked anything by then is not one."""

CLIENTS = 32
"""Connections at once; a SuperNode's messages come one by one."""

YIELD_SECONDS = 10.0
"""Without a client of our own generation for so long, one of another generation may have the place."""

KNOCK_SECONDS = 0.05
"""Pause after a connection that could not be taken."""

LOCK_SECONDS = 0.1
TAKE_OVER_SECONDS = 15.0
"""How long to wait for the lock: of another agent that came first, and of one that is leaving and flushes its sinks."""

STALE_SECONDS = 86_400.0
"""Files of agents that were killed are removed when so old; what an agent said when it failed is of no use by then."""

_COLUMNS: tuple[tuple[str, str, Callable[[Aggregate], float]], ...] = (
    ("cpu_seconds", "cpu_seconds", lambda aggregate: aggregate.total),
    ("cpu_usage", "cpu_usage", lambda aggregate: aggregate.mean),
    ("memory_peak_bytes", "memory_bytes", lambda aggregate: aggregate.maximum),
    ("network_bytes_sent", "network_bytes_sent", lambda aggregate: aggregate.total),
    ("network_bytes_recv", "network_bytes_recv", lambda aggregate: aggregate.total),
    ("disk_bytes_read", "disk_bytes_read", lambda aggregate: aggregate.total),
    ("disk_bytes_written", "disk_bytes_written", lambda aggregate: aggregate.total),
    ("gpu_usage", "gpu_usage", lambda aggregate: aggregate.mean),
    ("gpu_memory_peak_bytes", "gpu_memory_bytes", lambda aggregate: aggregate.maximum),
)
"""What a client is told: the column's name, the metric behind it, and how the one comes of the other."""


class _Sink:
    """A user's sink that does without being opened: the other sinks and the numbers need not do without it."""

    def __init__(self, sink: Sink, notes: list[str]) -> None:
        self.flush_seconds = sink.flush_seconds
        self._sink = sink
        self._notes = notes
        self._is_open = False

    def open(self, run: Run) -> None:
        try:
            self._sink.open(run)
        except Exception as error:
            self._notes.append(f"{type(self._sink).__name__}: {error}")
        else:
            self._is_open = True

    def write(self, sample: Sample) -> None:
        if self._is_open:
            self._sink.write(sample)

    def window(self, name: str, start: float, end: float | None) -> None:
        if self._is_open and (tell := getattr(self._sink, "window", None)) is not None:
            tell(name, start, end)

    def close(self) -> None:
        if self._is_open:
            self._sink.close()

    def facts(self) -> dict[str, Any]:
        return self._sink.facts() if self._is_open else {"sink": type(self._sink).__name__, "is_open": False}


class _Client:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.received = bytearray()
        self.has_marked = self.is_in_call = False


class _Agent:
    """Serves clients until it has a reason to end."""

    def __init__(self, plan: dict[str, Any], sinks: tuple[Sink, ...], directory: int) -> None:
        self._plan = plan
        self._directory = directory
        self._notes: list[str] = []
        self._sinks = tuple(_Sink(sink, self._notes) for sink in sinks)
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._is_over = False
        self._last_seen = time.monotonic()
        self._window: Window | None = None
        self._ended: list[Window] = []
        self._name = f"{plan['name']}.socket"
        self._live = None if plan["live"] is None else Between(plan["live"], plan["identifier"], plan["pid"])

    def open(self) -> None:
        """Take every handle; clients are heard once all is there. Raises MonitorError, OSError."""
        self._watch_signals()
        self._watch_process()
        self._listener = socket.socket(socket.AF_UNIX)
        with suppress(FileNotFoundError):  # of one that was killed: its lock is ours now
            os.unlink(self._name, dir_fd=self._directory)
        umask = os.umask(0o177)
        self._listener.bind(socket_address(self._directory, self._plan["name"]))
        os.umask(umask)
        self._bound = self._look_at_socket()
        self._monitor = self._start_monitor()
        if self._live is not None:
            self._live.start()
        self._listener.setblocking(False)
        self._listener.listen(CLIENTS)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Answer until it is over."""
        while not self._is_over:
            for key, _ in self._selector.select(CHECK_SECONDS):
                key.data()
            self._close_ended()
            self._check()

    def close(self) -> None:
        """Take the socket away, flush and close the sinks."""
        with suppress(OSError):
            if os.path.samestat(self._look_at_socket(), self._bound):
                os.unlink(self._name, dir_fd=self._directory)
        self._listener.close()
        for client in list(self._clients.values()):
            self._drop(client)
        self._close_ended()
        if self._live is not None:
            self._live.stop()
        self._monitor.stop()

    def _watch_signals(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)

        def hear() -> None:
            if {signal.SIGTERM, signal.SIGINT}.intersection(reader.recv(4096)):
                self._end()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, stack: None)
        signal.set_wakeup_fd(writer.detach())
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whoever started us may have had some blocked
        self._selector.register(reader, selectors.EVENT_READ, hear)

    def _watch_process(self) -> None:
        """Have the kernel tell of the watched process's end. Raises ProcessLookupError when it has ended already."""
        try:
            ending = os.pidfd_open(self._plan["pid"])
        except ProcessLookupError:
            raise
        except (AttributeError, OSError):  # before Linux 5.3, or forbidden in this container: `_check` looks
            pass
        else:
            self._selector.register(ending, selectors.EVENT_READ, self._end)
        if not self._is_watched_there():  # asked last: from here on the number cannot become another process's
            raise ProcessLookupError(f"process {self._plan['pid']} is another one by now")

    def _end(self) -> None:
        self._is_over = True

    def _is_watched_there(self) -> bool:
        with suppress(OSError):
            return bool(started_ticks(self._plan["pid"]) == self._plan["started_ticks"])
        return False

    def _look_at_socket(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)

    def _start_monitor(self) -> Monitor:
        """Start with all that was asked for and can be had. Raises MonitorError."""
        groups: list[str] = self._plan["groups"]
        with suppress(MonitorError):
            return self._monitor_any_network(groups)
        usable = []
        for group in groups:
            try:
                self._monitor_with([group], (), "host").stop()
                usable.append(group)
            except MonitorError as error:
                self._notes.append(f"{group}: {str(error).removeprefix(f'{group}: ')}")
        return self._monitor_any_network(usable)

    def _monitor_any_network(self, groups: list[str]) -> Monitor:
        """Start with the SuperNode's own connections, as a call's are measured, or with the host's interfaces."""
        with suppress(MonitorError):
            return self._monitor_with(groups, self._sinks, "process")
        return self._monitor_with(groups, self._sinks, "host")

    def _monitor_with(self, groups: list[str], sinks: tuple[_Sink, ...], network: str) -> Monitor:
        monitor = Monitor(
            sinks,
            interval=self._plan["interval"],
            runner="thread",
            identifier=self._plan["identifier"],
            pid=self._plan["pid"],
            network=network,
            loopback=network == "process",
            history=1,
        )
        monitor.set_metrics(**{group: group in groups for group in GROUPS})
        monitor.start()
        return monitor

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away; or there is no descriptor left for it, and it goes on knocking
            time.sleep(KNOCK_SECONDS)
            return
        with suppress(OSError):
            if len(self._clients) >= CLIENTS or peer_uid(connection) != os.geteuid():
                connection.close()
                return
            connection.setblocking(False)
            client = self._clients[connection.fileno()] = _Client(connection)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(client))

    def _hear(self, client: _Client) -> None:
        """Take in what a client says and answer it; who is not understood, or does not listen, is dropped."""
        try:
            data = client.connection.recv(LINE_BYTES)
            client.received += data
            line, end, more = client.received.partition(b"\n")
            if not data or more or len(client.received) > LINE_BYTES:
                raise ConnectionError
            if end:
                client.received.clear()
                reply = self._answer(client, json.loads(line))
                if client.connection.send(reply, socket.MSG_NOSIGNAL) < len(reply):
                    raise ConnectionError
        except (OSError, ValueError, RecursionError):
            self._drop(client)

    def _answer(self, client: _Client, request: object) -> bytes:
        """Return the line that answers a request. Raises ValueError for one that is none."""
        if not isinstance(request, dict) or request.get("mark") != 1:
            raise ValueError("this is no request")
        if request.get("generation") == self._plan["generation"]:
            is_first = self._window is None
            client.has_marked = True
            client.is_in_call = not client.is_in_call
            self._last_seen = time.monotonic()
            call = request.get("call") if client.is_in_call else ""
            numbers = self._mark(call if isinstance(call, str) else "")
            reply = {"state": "first" if is_first else "ok", "numbers": numbers, "facts": self._facts()}
        elif self._is_in_use() or time.monotonic() - self._last_seen < YIELD_SECONDS:
            reply = {"state": "other"}
        else:
            reply = {"state": "leaving"}
            self._is_over = True
        line = json.dumps(reply, allow_nan=False, default=str).encode() + b"\n"
        if len(line) > LINE_BYTES:
            reply["facts"] = {"notes": "what the agent has to say of itself is too long"}
            line = json.dumps(reply, allow_nan=False).encode() + b"\n"
        return line

    def _mark(self, call: str = "") -> dict[str, float]:
        """Begin a section, by a sample that is the last of the section before it, too; return that one's numbers.

        Sinks are told of one that is a call.
        """
        before, self._window = self._window, self._monitor.window(call or "between two marks", is_told=bool(call))
        self._window.__enter__()
        if before is None:
            return {}
        self._ended.append(before)
        return self._numbers(before)

    def _close_ended(self) -> None:
        """Close the sections that have been told of. That takes a sample, for which no client should have to wait."""
        while self._ended:
            self._ended.pop().__exit__(None, None, None)

    def _numbers(self, window: Window) -> dict[str, float]:
        seen = window.describe()
        numbers = {column: value(seen[metric]) for column, metric, value in _COLUMNS if metric in seen}
        if (joules := joules_of(seen)) is not None:
            numbers["energy_joules"] = joules
        numbers["seconds"] = window.seconds
        numbers["samples"] = max((aggregate.count for aggregate in seen.values()), default=0)
        numbers["samples_seen"] = self._monitor.health.samples
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _facts(self) -> dict[str, Any]:
        health = self._monitor.health
        live, note = ({}, "") if self._live is None else (self._live.facts, self._live.note)
        return {
            "pid": os.getpid(),
            "watched": self._plan["pid"],
            "sources": health.sources,
            "sinks": health.sinks,
            "live": live,
            "notes": "; ".join(filter(None, [*self._notes, note, health.last_error])),
        }

    def _drop(self, client: _Client) -> None:
        """Forget a client. One that leaves in the midst of a call ends it: what comes now is the time between calls."""
        self._clients.pop(client.connection.fileno(), None)
        self._selector.unregister(client.connection)
        client.connection.close()
        if client.has_marked:
            self._last_seen = time.monotonic()
        if client.is_in_call:
            self._mark()

    def _is_in_use(self) -> bool:
        return any(client.has_marked for client in self._clients.values())

    def _check(self) -> None:
        now = time.monotonic()
        for client in list(self._clients.values()):
            if not client.has_marked and now - client.since > SILENT_SECONDS:
                self._drop(client)
        if self._is_in_use():
            self._last_seen = now
        is_there = False
        with suppress(OSError):  # somebody cleans up in /tmp, or the user has logged out
            is_there = os.path.samestat(self._look_at_socket(), self._bound)
        is_idle = now - self._last_seen > self._plan["idle_seconds"]
        if is_idle or not is_there or not self._is_watched_there():
            self._is_over = True
        elif self._monitor.failure and not self._is_over:
            raise MonitorError(self._monitor.failure)


def main() -> None:
    """Read the plan, carry it out, leave."""
    stdin = sys.stdin.buffer
    plan, pickled = json.loads(stdin.readline()), stdin.read()
    # A ClientApp that waits for any child of its own must not wait for us: go on as nobody's child. This interpreter is
    # a new one with a single thread and none of Flower's handlers in it.
    if os.fork():
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    try:
        directory = open_directory(plan["directory"])
        lock = _take_lock(directory, f"{plan['name']}.lock", TAKE_OVER_SECONDS if plan["replaces"] else LOCK_SECONDS)
    except (Unavailable, OSError):
        os._exit(1)  # the client meets the same
    if lock is None:
        os._exit(0)
    failure = ""
    try:
        agent = _Agent(plan, pickle.loads(pickled), directory)  # from our own client, over an anonymous pipe
        agent.open()
        os.ftruncate(lock, 0)
        try:
            agent.serve()
        finally:
            agent.close()
    except BaseException as error:
        failure = str(error) if isinstance(error, MonitorError) else repr(error)
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"failure": failure[:1000], "generation": plan["generation"]}).encode(), 0)
    else:
        os.unlink(f"{plan['name']}.lock", dir_fd=directory)
    _sweep(directory)
    os._exit(bool(failure))  # a sink's thread that hangs must not keep us


def _take_lock(directory: int, name: str, patience: float) -> int | None:
    """Return a descriptor that holds the lock until we end; None where another agent does. Raises OSError."""
    until = time.monotonic() + patience
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(name, dir_fd=directory)):  # its last holder may have removed it
                return lock
        os.close(lock)
        if time.monotonic() >= until:
            return None
        time.sleep(0.02)


def _sweep(directory: int) -> None:
    """Remove what killed agents left behind long ago."""
    for name in os.listdir(directory):
        with suppress(OSError):
            is_stale = time.time() - os.stat(name, dir_fd=directory).st_mtime > STALE_SECONDS
            if name.endswith(".lock") and is_stale and (lock := _take_lock(directory, name, 0.0)) is not None:
                os.unlink(name, dir_fd=directory)
                os.close(lock)
                os.unlink(name.removesuffix(".lock") + ".socket", dir_fd=directory)
