"""The machine as an argument: where its files are, and how much it has. Tests point it at a recorded tree."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the operating system's counters are.

    Attributes:
        proc: The procfs to read, or None to go through psutil (every system but Linux).
        sys: The sysfs to read, or None where there is none.
    """

    proc: str | None
    sys: str | None

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        if sys.platform == "linux" and os.path.exists("/proc/self/stat"):
            return cls("/proc", "/sys")
        return cls(None, None)

    @property
    def has_cpu_clocks(self) -> bool:
        """True where another process's CPU clock can be read (Linux, and not a recorded tree)."""
        return self.proc == "/proc"

    def cpu_count(self) -> int:
        """Return the number of logical CPUs."""
        return os.cpu_count() or 1

    def memory_bytes(self) -> int:
        """Return the size of the machine's memory."""
        if self.proc is None:
            import psutil

            return int(psutil.virtual_memory().total)
        for line in Path(self.proc, "meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
        raise OSError(f"{self.proc}/meminfo has no line MemTotal")
