"""A live fleet of real processes in a folder: keys, a list of functions, coordinator and agents, what they print."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from servers import free_port
from waiting import wait_for

from heflwr.live.keys import add, new

PATIENCE_SECONDS = 30.0

MEAN_OF_LOAD = '[[watch]]\nkind = "mean"\nmetric = "load"\nbound = 2.0\n'


class Program:
    """`heflwr ...` as a process, and the lines it printed."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "heflwr", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        )
        self._thread = threading.Thread(target=self._read, name=f"reads-{arguments[0]}")
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def says(self, pattern: str, since: int = 0) -> str:
        """Wait for a line, and return it."""

        def found() -> str | None:
            return next((line for line in self.lines[since:] if re.search(pattern, line)), None)

        wait_for(lambda: found() or self.process.poll() is not None, PATIENCE_SECONDS, f"{pattern!r} in {self.lines}")
        if self.process.poll() is not None:
            self._thread.join(PATIENCE_SECONDS)
        line = found()
        assert line is not None, self.lines
        return line

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class LiveFleet:
    """Processes on one free port of this machine, with keys of their own."""

    def __init__(self, folder: Path, watches: str = MEAN_OF_LOAD) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.programs: list[Program] = []
        self.watches = self.written("watches.toml", watches)
        self.coordinator_key = new(folder / "coordinator")

    def written(self, name: str, text: str) -> str:
        """Write a file, whole or not at all, and return its path."""
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        beside.replace(self.folder / name)
        return str(self.folder / name)

    def load(self, name: str, value: float) -> str:
        """Write the file that an agent's metric is fed from."""
        return self.written(f"{name}.json", json.dumps({"load": value}))

    def coordinator(self, *arguments: str) -> Program:
        """Start a coordinator that prints often."""
        common = ["--watch", self.watches, "--listen", self.address, "--keys", str(self.folder / "coordinator")]
        return self.started("coordinator", *common, "--print", "0.1", "--lease", "2", *arguments)

    def agent(self, name: str, *arguments: str, watches: str = "", **environment: str) -> Program:
        """Start an agent with keys that the coordinator knows; its metric is in NAME.json, 10 at first."""
        keys = self.folder / name
        if not keys.exists():
            add(self.folder / "coordinator", name, new(keys, self.coordinator_key))
        if not (self.folder / f"{name}.json").exists():
            self.load(name, 10.0)
        common = ["--watch", watches or self.watches, "--connect", self.address, "--interval", "0.1"]
        values = ["--keys", str(keys), "--values", str(self.folder / f"{name}.json")]
        return self.started("agent", *common, *values, *arguments, **environment)

    def started(self, *arguments: str, **environment: str) -> Program:
        """Start a program that ends with the fleet."""
        self.programs.append(Program(*arguments, **environment))
        return self.programs[-1]

    def end(self) -> None:
        """Kill all that is left."""
        for program in self.programs:
            program.end(signal.SIGKILL)
