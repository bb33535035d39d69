"""A process that stands in for a SuperNode, and the resident agents that watch it: who lives, and that none is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from waiting import wait_for
from workloads import Worker

from heflwr.flower.client.resident import Resident, open_directory, socket_address

CLIENT = Path(__file__).with_name("resident_client.py")


def is_alive(pid: int) -> bool:
    """Return False for a process that is gone, or a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Scene:
    """A watched process, a directory for agents, and clients. A context manager: it asserts that no agent is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.supernode = Worker()
        self._residents: list[Resident] = []
        self._names: set[str] = set()
        self._opened: list[int] = []

    def options(self, **changed: Any) -> dict[str, Any]:
        return {"key": "node 1", "directory": str(self.directory), "pid": self.supernode.pid, **changed}

    def resident(self, **changed: Any) -> Resident:
        """Return a client in this process."""
        self._residents.append(Resident(**self.options(**changed)))
        return self._residents[-1]

    def client(self, what: str = "call", **changed: Any) -> subprocess.Popen[str]:
        """Start a client in a process of its own."""
        command = [sys.executable, str(CLIENT), json.dumps(self.options(**changed)), what]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def met(self, **changed: Any) -> Resident:
        """Return a client that has an agent and has marked the begin and the end of a call."""
        resident = self.resident(**changed)
        wait_for(lambda: resident.mark() or resident.facts, what="an agent")
        resident.mark()
        return resident

    def agents(self) -> list[int]:
        """Return the pids of living agents that have, or had, a file in the directory."""
        if self.directory.is_dir():
            self._names |= {file.stem for file in self.directory.iterdir()}
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_text(errors="replace").split("\0") if entry.name.isdigit() else []
                if "resident" in words and self._names.intersection(words) and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def address(self, name: str) -> str:
        """Return an address of the agent's socket that is short enough; it is good while the scene lasts."""
        self._opened.append(open_directory(str(self.directory)))
        return socket_address(self._opened[-1], name)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.agents()
        for resident in self._residents:
            resident.close()
        for descriptor in self._opened:
            os.close(descriptor)
        self.supernode.__exit__()
        wait_for(lambda: not self.agents(), what="the end of all agents")


def result(client: subprocess.Popen[str]) -> Any:
    """Return what a client printed; it must have ended well."""
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0
    return json.loads(output)


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
