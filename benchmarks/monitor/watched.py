"""A watched process seen from outside: told what to do, and its CPU time and memory read, children included."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .candidates import ENTRIES, Entry
from .peers import Environments

_HERE = Path(__file__).parent
_ANSWER_SECONDS = 120.0
"""A candidate that hangs is given up after this."""

_TICK = 1 / os.sysconf("SC_CLK_TCK")


class CandidateFailed(RuntimeError):
    """A candidate could not do what it was told; its line in the tables says why."""


@dataclass(frozen=True)
class Memory:
    """Proportional set size (PSS), bytes.

    Attributes:
        process: Of the watched process.
        children: Of its descendants together.
    """

    process: int
    children: int


class Watched:
    """A subject with one candidate; a context manager."""

    def __init__(self, name: str, environments: Environments, scratch: Path, collector: str) -> None:
        entry = ENTRIES[name]
        variables = dict(os.environ, BENCHMARK_COLLECTOR=collector, PYTHONPATH="")
        if entry.home == "own":
            python: Path | str = sys.executable
            variables["PYTHONPATH"] = str(_HERE.parents[1])
        else:
            assert environments.python is not None
            python = environments.python
            variables["BENCHMARK_ANCESTOR"] = str(environments.ancestor)
        self.name = name
        self._log = (scratch / f"{name}.log").open("ab")
        self._process = subprocess.Popen(
            [python, "-u", str(_HERE / "subject.py"), name, str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=scratch,
            env=variables,
            text=True,
        )
        self.pid = self._process.pid
        self._read()

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def tell(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the subject do something and return its answer. Raises CandidateFailed with the reason."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([command, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise CandidateFailed(f"{self.name} has died") from error
        answer = self._read()
        if "error" in answer:
            raise CandidateFailed(f"{command}: {answer['error']}")
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _ANSWER_SECONDS)[0]:
            self._process.kill()
            raise CandidateFailed(f"{self.name} gave no answer within {_ANSWER_SECONDS:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise CandidateFailed(f"{self.name} died with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far by the process and all its descendants.

        Living ones by their CPU clocks, ended ones by what they left to their parents (proc_pid_stat(5), cutime).
        """
        total = 0.0
        for pid in self._family():
            try:
                total += time.clock_gettime((~pid << 3) | 2) + _waited_seconds(pid)
            except OSError:  # ended between two looks: it is in its parent's time, or was reaped by nobody
                continue
        return total

    def memory(self) -> Memory:
        """Return the memory that the process and its descendants hold."""
        first, *others = self._family()
        return Memory(_pss(first), sum(map(_pss, others)))

    def _family(self) -> list[int]:
        family = [self.pid]
        for pid in family:
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    family += map(int, (task / "children").read_text().split())
            except OSError:
                continue
        return family


def _waited_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * _TICK


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def is_available(entry: Entry, environments: Environments) -> str:
    """Return "" where the candidate can be tried, or why not."""
    if entry.home != "own" and environments.python is None:
        return "peers were not asked for"
    if entry.home == "ancestor" and environments.ancestor is None:
        return "heflwr 0.1.9 is not installed"
    return ""
