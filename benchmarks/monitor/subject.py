"""The watched process: idle but for what it is told on stdin, a JSON object a line, and answers on stdout.

Runs as a script with a plain interpreter, so that a candidate meets a process that has imported nothing else. Whoever
started it looks at it from outside: CPU time and memory are not its own business.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Subject:
    """One candidate and the commands about it; each returns what goes into the answer."""

    def __init__(self, name: str, scratch: Path) -> None:
        from candidates import ENTRIES

        self._candidate = ENTRIES[name].build(scratch)

    def load(self) -> dict[str, Any]:
        began = time.perf_counter()
        self._candidate.load()
        return {"seconds": time.perf_counter() - began}

    def start(self, interval: float) -> dict[str, Any]:
        self._called_at = time.time()
        began = time.perf_counter()
        self._candidate.start(interval)
        return {"seconds": time.perf_counter() - began}

    def count(self) -> dict[str, Any]:
        return {"count": self._candidate.count(), "time": time.time()}

    def stop(self) -> dict[str, Any]:
        began = time.perf_counter()
        self._candidate.stop()
        seconds = time.perf_counter() - began
        stamps = self._candidate.stamps()
        return {"seconds": seconds, "stamps": stamps, "first": stamps[0] - self._called_at if stamps else None}

    def work(self, turns: int) -> dict[str, Any]:
        """Do a fixed piece of pure-Python arithmetic, the kind of work that shares the interpreter with a thread."""
        began = time.perf_counter()
        total = 0
        for turn in range(turns):
            total += turn * turn
        return {"seconds": time.perf_counter() - began, "total": total % 1_000_003}

    def readings(self, children: int, rounds: int, calls: int) -> dict[str, Any]:
        from readings import compare_readings

        return compare_readings(children, rounds, calls)

    def million(self, samples: int) -> dict[str, Any]:
        from million import feed

        self._kept, facts = feed(samples)
        return facts


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what candidates print must not be taken for an answer
    subject = Subject(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps({"ready": os.getpid()}), file=answers)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        try:
            answer = getattr(subject, command)(**arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
