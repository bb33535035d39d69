"""Memory of the process tree, in bytes and as a share of the machine's (or the container's)."""

from __future__ import annotations

from heflwr.monitor.probes.tree import Tree
from heflwr.monitor.sample import MISSING


class MemoryProbe:
    """Fills memory_bytes and memory_usage."""

    group = "memory"

    def __init__(self, tree: Tree, capacity_bytes: int) -> None:
        self._tree = tree
        self._capacity_bytes = capacity_bytes

    def open(self) -> str:
        return f"process tree, % of {self._capacity_bytes} bytes"

    def start(self, now_ns: int) -> None:
        """Nothing to count: memory is a level."""

    def read(self, now_ns: int) -> tuple[float, ...]:
        resident = self._tree.resident_bytes()
        if not resident:  # ended, and nobody has waited for it yet: it holds nothing, but it did not train with nothing
            return MISSING, MISSING
        return resident, 100.0 * resident / self._capacity_bytes

    def close(self) -> None:
        """Nothing to give back: the tree has an owner."""
