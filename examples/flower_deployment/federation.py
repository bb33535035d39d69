"""Flower's processes on one machine, and a collector: brought up, and taken down again by pid whatever happens."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PROGRAMS = Path(sys.executable).parent
"""Where pip puts Flower's executables; they start each other by name, so it must come first in PATH."""

QUIET_AND_OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OMP_NUM_THREADS": "1",  # one thread for each client: all of them share this machine's cores
    "OPENBLAS_NUM_THREADS": "1",
}

MARK = "HEFLWR_EXAMPLE_DEPLOYMENT"
"""Variable with the output folder: says of a process that it is one of ours, also when its parent is gone."""

COLLECTOR = "heflwr.collector"

CONNECTION = "example"
"""What `flwr` calls our SuperLink."""

START_SECONDS = 60.0
GRACE_SECONDS = 10.0
"""Until a process that was asked to end is killed."""


class FederationError(Exception):
    """A process did not come up, or the run failed. The text names the log."""


class Federation:
    """A collector, a SuperLink and SuperNodes. A context manager: on leaving, all of it and its children end.

    Attributes:
        collector: The collector's URL.
        token: What it asks for.
    """

    def __init__(self, out: Path, clients: int) -> None:
        """Remember.

        Args:
            out: Folder for logs, samples, the collector's database and Flower's home.
            clients: How many SuperNodes.
        """
        self.collector = ""
        self.token = secrets.token_urlsafe()
        self._out = out
        self._clients = clients
        self._logs = out / "logs"
        self._home = out / "flwr-home"

    def __enter__(self) -> Federation:
        end_all(self._out)  # of an earlier run that was killed
        for folder in (self._logs, self._home, self._out / "samples"):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            end_all(self._out)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        end_all(self._out)

    def run(self, app: Path, **config: object) -> Iterator[str]:
        """Run an app; yield what it prints, line by line. Raises FederationError when it fails."""
        changed = " ".join(f"{name}={value!r}" for name, value in config.items())
        command = [PROGRAMS / "flwr", "run", app, CONNECTION, "--stream", "--run-config", changed]
        failed = False
        with (self._logs / "run.log").open("w") as log:
            flwr = subprocess.Popen(command, env=self._environment(), text=True, stdout=subprocess.PIPE, stderr=log)
            assert flwr.stdout is not None
            for line in flwr.stdout:
                log.write(line)
                log.flush()
                failed = failed or "Exit Code:" in line  # flwr itself exits with 0 when the ServerApp failed
                yield line
            if flwr.wait() or failed:
                raise FederationError(f"the run failed, see {log.name}")

    def _start(self) -> None:
        database = str(self._out / "collector.db")
        collector = self._spawn("collector", sys.executable, "-m", COLLECTOR, "--port", "0", "--database", database)
        self.collector = self._wait("collector", collector, lambda log: re.search(r"http://\S+", log))
        port = _free_port()
        address = f"127.0.0.1:{port}"
        (self._home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n'
            f'[superlink.{CONNECTION}]\naddress = "{address}"\ninsecure = true\n'
        )
        superlink = self._spawn(
            "superlink", PROGRAMS / "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)
        )
        self._wait("superlink", superlink, lambda log: re.search(r"Uvicorn running", log))
        for client in range(self._clients):
            samples = self._out / "samples" / f"client-{client}.jsonl"
            samples.unlink(missing_ok=True)  # of an earlier run: a FileSink appends
            config = (
                f'partition-id={client} num-partitions={self._clients} samples="{samples}" collector="{self.collector}"'
            )
            options = ["--insecure", "--superlink", address, "--port", str(_free_port()), "--node-config", config]
            self._spawn(f"supernode-{client}", PROGRAMS / "flower-supernode", *options)

    def _spawn(self, name: str, program: str | Path, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [program, *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, and we end the others
            )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **QUIET_AND_OFFLINE,
            MARK: str(self._out),
            "HEFLWR_COLLECTOR_TOKEN": self.token,  # the collector reads it, and client_app.py
            "FLWR_HOME": str(self._home),
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def _wait(self, name: str, process: subprocess.Popen[bytes], find: Callable[[str], re.Match[str] | None]) -> str:
        """Return what `find` sees in the process's log once it is there."""
        log, deadline = self._logs / f"{name}.log", time.monotonic() + START_SECONDS
        while not (found := find(log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise FederationError(f"the {name} does not start, see {log}")
            time.sleep(0.05)
        return found[0]


def processes_of(out: Path) -> list[psutil.Process]:
    """Return the living processes that belong to the federation in `out`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(out) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def end_all(out: Path) -> None:
    """End the processes of the federation in `out`, the collector last: it gets what the agents still have to say."""
    living = processes_of(out)
    collectors = [process for process in living if COLLECTOR in _command(process)]
    _end([process for process in living if process not in collectors])
    _end(collectors)


def _end(processes: list[psutil.Process]) -> None:
    """Ask all of them to end, and kill those that do not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        processes = psutil.wait_procs(processes, GRACE_SECONDS)[1]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
