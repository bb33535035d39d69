"""A `tegrastats` on PATH that replays lines at about the interval it was asked for, and notes when it wrote them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

_PROGRAM = """#!{python} -IS
import os, sys, time

seconds = int(sys.argv[sys.argv.index("--interval") + 1]) / 1000
lines = {lines!r}
after, code, complaint = {after!r}, {code!r}, {complaint!r}
with open({pids!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
if complaint:
    print(complaint, file=sys.stderr, flush=True)
due = time.monotonic()
with open({stamps!r}, "a") as stamps:
    for k in range(10**9):
        if k == after:
            if code is None:
                time.sleep(10**6)
            sys.exit(code)
        line = lines[k % len(lines)]
        stamp = time.monotonic_ns()
        sys.stdout.write(line + "\\n")
        sys.stdout.flush()
        print(stamp, k, seconds, file=stamps, flush=True)
        due += seconds * (1.5 if k % 3 == 0 else 1.0)  # no program keeps its interval
        time.sleep(max(0.0, due - time.monotonic()))
"""


class Replay:
    """The program in a folder of its own, which the test puts on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamps = folder / "stamps"
        self._pids = folder / "pids"

    def install(
        self,
        lines: Sequence[str],
        *,
        after: int | None = None,
        code: int | None = None,
        complaint: str = "",
    ) -> None:
        """Write the program: it repeats `lines`; after `after` of them it exits with `code`, or hangs (None)."""
        path = self.folder / "tegrastats"
        path.write_text(
            _PROGRAM.format(
                python=sys.executable,
                lines=list(lines),
                after=after,
                code=code,
                complaint=complaint,
                pids=str(self._pids),
                stamps=str(self._stamps),
            )
        )
        path.chmod(0o755)

    def written(self) -> list[tuple[int, int, float]]:
        """Return when each line was written (monotonic ns), its number, and the interval asked for (seconds)."""
        if not self._stamps.exists():
            return []
        whole = self._stamps.read_text().rpartition("\n")[0]
        rows = [line.split() for line in whole.splitlines()]
        return [(int(stamp), int(number), float(seconds)) for stamp, number, seconds in rows]

    def pids(self) -> list[int]:
        """Return the pids under which it ever ran."""
        return [int(word) for word in self._pids.read_text().split()] if self._pids.exists() else []

    def is_running(self) -> bool:
        """Return whether any of them is alive (a zombie is not)."""
        for pid in self.pids():
            try:
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    return True
            except psutil.NoSuchProcess:
                continue
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as the condition holds; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.005)
