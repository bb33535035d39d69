"""Real processes that tests measure: each does what it is told, one line of JSON at a time, and reports the truth.

The truth is what the kernel tells the process of itself (getrusage) and what it knows it has sent, never what was
asked for: on a busy machine a burn of one second may get half a second of CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MIB = 1 << 20

MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "overlay", "devtmpfs"}
"""Where a write may reach no disk at all, or one that is not told apart."""


class Worker:
    """A child process that carries out the functions of this module by name. Use as a context manager."""

    def __init__(self, *prefix: str) -> None:
        """Start it, behind the command `prefix` if there is one (`ip netns exec NAME`); wait until it listens."""
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-X", "utf8", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid: int = self.call("pid")

    def call(self, name: str, *arguments: Any) -> Any:
        """Carry out one function; return what it returned."""
        self.send(name, *arguments)
        return self.reply()

    def send(self, name: str, *arguments: Any) -> None:
        """Have a function carried out, without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()

    def reply(self) -> Any:
        """Wait for the result of the oldest function sent."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the workload ended with code {self._process.wait()}")
        return json.loads(line)

    def kill(self, *, reap: bool = True) -> None:
        """End it at once; without `reap` it stays a zombie."""
        self._process.kill()
        if reap:
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def cpu_used(who: int = resource.RUSAGE_SELF) -> float:
    """Return CPU seconds of this process (or of its waited-for children), by getrusage(2)."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def burn(seconds: float, duty: float = 1.0, threads: int = 1) -> dict[str, float]:
    """Burn a share of one CPU for some wall time; return the CPU and wall seconds that it really was."""
    began, used = time.monotonic(), cpu_used()
    others = [threading.Thread(target=_spin, args=(began + seconds, duty)) for _ in range(threads - 1)]
    for other in others:
        other.start()
    _spin(began + seconds, duty)
    for other in others:
        other.join()
    return {"cpu": cpu_used() - used, "wall": time.monotonic() - began}


def _spin(until: float, duty: float) -> None:
    period = 0.04
    while (now := time.monotonic()) < until:
        busy = now + period * duty
        while time.monotonic() < busy:
            pass
        if duty < 1:
            time.sleep(period * (1 - duty))


def multiply(seconds: float) -> dict[str, float]:
    """Multiply matrices with as many threads as BLAS likes."""
    import numpy

    matrix = numpy.random.default_rng(0).random((400, 400))
    began, used = time.monotonic(), cpu_used()
    while time.monotonic() < began + seconds:
        matrix @ matrix
    return {"cpu": cpu_used() - used, "wall": time.monotonic() - began}


def burn_in_children(count: int, seconds: float, *, is_waited: bool = True, from_thread: bool = False) -> float:
    """Fork children that burn and end; return all CPU seconds used, by the children's own account."""
    used = cpu_used()
    accounts: list[float] = []

    def work() -> None:
        pipes = [_fork(lambda report: report(burn(seconds)["cpu"])) for _ in range(count)]
        accounts.extend(float(_read_all(pipe)) for pipe in pipes)
        with contextlib.suppress(ChildProcessError):  # where nobody waits, the kernel says so once the last has gone
            for _ in pipes:
                os.wait()

    if not is_waited:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if from_thread:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    return sum(accounts) + cpu_used() - used


_burning: list[tuple[int, threading.Event, float]] = []


def burn_until_told(*, is_waited: bool = True, from_thread: bool = False) -> int:
    """Fork a child that burns until end_burn(), from this thread or another; return its number."""
    used = cpu_used()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_waited else signal.SIG_IGN)
    born: list[int] = []
    is_born, release = threading.Event(), threading.Event()

    def work() -> None:
        if (child := os.fork()) == 0:
            while True:
                pass
        born.append(child)
        is_born.set()
        if from_thread:  # the kernel lists a child by the thread that forked it, while that lives
            release.wait()

    if from_thread:
        threading.Thread(target=work, daemon=True).start()
        is_born.wait()
    else:
        work()
    _burning.append((born[0], release, used))
    return born[0]


def end_burn() -> float:
    """End the child of burn_until_told(), and return when it is gone; the CPU seconds of it and of us since then."""
    child, release, used = _burning.pop()
    burnt = time.clock_gettime((~child << 3) | 2)  # its CPU clock, as clock_getcpuclockid(3) makes it
    waited = cpu_used(resource.RUSAGE_CHILDREN)
    os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # nobody's to wait for: the kernel says so once it has gone
        os.waitpid(child, 0)
        burnt = cpu_used(resource.RUSAGE_CHILDREN) - waited
    release.set()
    return burnt + cpu_used() - used


def burn_in_orphan(seconds: float, parent_seconds: float) -> float:
    """Fork a child that forks one that burns, and ends before it; return all CPU seconds, by their own account."""
    used = cpu_used()

    def child(report: Callable[[float], None]) -> None:
        grandchild = _fork(lambda report_further: report_further(burn(seconds)["cpu"]))
        usage = burn(parent_seconds)["cpu"]
        if os.fork() == 0:  # passes the orphan's account on, since its parent will be gone
            report(usage + float(_read_all(grandchild)))
            os._exit(0)

    pipe = _fork(child)
    os.wait()
    return float(_read_all(pipe)) + cpu_used() - used


def _fork(work: Callable[[Callable[[float], None]], None]) -> int:
    """Fork a child that does `work` and ends; return a pipe with what it reports."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(reader)
            work(lambda value: os.write(writer, repr(value).encode()) and None)
            code = 0
        os._exit(code)
    os.close(writer)
    return reader


def _read_all(pipe: int) -> bytes:
    with open(pipe, "rb") as stream:
        return stream.read()


_held: list[bytearray] = []


def hold(mib: int) -> int:
    """Touch and keep so much more memory; return the resident bytes of this process, by /proc/self/statm."""
    block = bytearray(mib * MIB)
    for at in range(0, len(block), 4096):
        block[at] = 1
    _held.append(block)
    return resident()


def resident() -> int:
    """Return the resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def fork_idle(count: int, *, rewrite_after: float | None = None) -> int:
    """Fork children that share all memory and end with us; they may write to all of it after some seconds."""
    import ctypes

    for _ in range(count):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends when we do
            if rewrite_after is not None:
                time.sleep(rewrite_after)
                for block in _held:
                    for at in range(0, len(block), 4096):
                        block[at] = 2
            while True:
                signal.pause()
    return count


_sockets: list[socket.socket] = []
_received: list[int] = []


def receive_all(host: str = "127.0.0.1") -> int:
    """Accept connections in the background and swallow what they bring; return the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family)
    _sockets.append(server)

    def swallow(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(MIB):
                _received.append(len(data))

    def accept() -> None:
        while True:
            threading.Thread(target=swallow, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def received() -> int:
    """Return how many bytes receive_all() has swallowed."""
    return sum(_received)


def connect(host: str, port: int) -> int:
    """Open a connection and keep it; return its number."""
    _sockets.append(socket.create_connection((host, port)))
    return len(_sockets) - 1


def transmit(number: int, size: int) -> int:
    """Send bytes over a connection."""
    chunk = bytes(min(size, MIB))
    left = size
    while left:
        left -= _sockets[number].send(chunk[:left])
    return size


def disconnect(number: int) -> None:
    """Close a connection."""
    _sockets[number].close()


def interface_bytes_sent() -> dict[str, int]:
    """Return the bytes that each interface of our network namespace has sent since it exists."""
    with open("/proc/self/net/dev") as file:
        lines = file.read().splitlines()[2:]
    return {line.partition(":")[0].strip(): int(line.partition(":")[2].split()[8]) for line in lines}


def adopt(path: str) -> int:
    """Take over a connection that another process hands us through a Unix socket; return its number."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    _sockets.append(socket.socket(fileno=descriptors[0]))
    return len(_sockets) - 1


def transmit_in_child(number: int, size: int) -> int:
    """Send bytes over a connection that a forked child shares, half of them by each; wait for the child."""
    if (pid := os.fork()) == 0:
        transmit(number, size // 2)
        os._exit(0)
    transmit(number, size - size // 2)
    os.waitpid(pid, 0)
    return size


def spend_and_close(host: str, port: int, size: int) -> int:
    """Connect, send, close, all at once."""
    transmit(number := connect(host, port), size)
    disconnect(number)
    return size


def switch(times: int) -> int:
    """Have a thread give up the CPU so many times, and end."""

    def work() -> None:
        for _ in range(times):
            time.sleep(0.0001)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return times


def write_file(path: str, size: int) -> int:
    """Write a file through to the disk."""
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
    return size


def write_in_child(path: str, size: int, *, is_waited: bool = True) -> int:
    """Write a file through from a forked child, which stays until finish_child(); say whether its end is waited for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_waited else signal.SIG_IGN)
    done, release = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.close(release[1])
        write_file(path, size)
        os.write(done[1], b"1")
        os.read(release[0], 1)
        os._exit(0)
    os.read(done[0], 1)
    _children[child] = release[1]
    for descriptor in (*done, release[0]):
        os.close(descriptor)
    return child


_children: dict[int, int] = {}


def finish_child(child: int) -> int:
    """Have a child of write_in_child() end, and return when it is gone."""
    release = _children.pop(child)
    os.write(release, b"1")  # closing it is not enough: a younger child holds it too
    os.close(release)
    with contextlib.suppress(ChildProcessError):  # nobody's to wait for: the kernel says so once it has gone
        os.waitpid(child, 0)
    return child


def pid() -> int:
    """Return our number."""
    return os.getpid()


def enter(*folders: str) -> None:
    """Move into cgroups."""
    for folder in folders:
        with open(f"{folder}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))


@contextlib.contextmanager
def real_disk() -> Iterator[str]:
    """Make a directory on a real disk for a while; skip the test where none can be written."""
    for candidate in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):
        if os.access(candidate, os.W_OK) and _file_system(candidate) not in MEMORY_FILE_SYSTEMS:
            with tempfile.TemporaryDirectory(dir=candidate) as made:
                yield made
            return
    import pytest

    pytest.skip("this test needs a writable directory on a disk: neither the temporary one nor /var/tmp is")


def _file_system(path: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return max((len(at), kind) for at, kind in mounts if path.resolve().is_relative_to(at))[1]


def _lines() -> Iterator[list[Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def main() -> None:
    """Carry out what comes in on stdin."""
    for name, *arguments in _lines():
        keywords = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
        print(json.dumps(globals()[name](*arguments, **keywords)), flush=True)


if __name__ == "__main__":
    main()
