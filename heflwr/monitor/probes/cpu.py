"""CPU time of the process tree, in seconds and as a share of the machine's (or the container's) capacity."""

from __future__ import annotations

from heflwr.monitor.probes.tree import Tree


class CpuProbe:
    """Fills cpu_seconds and cpu_usage."""

    group = "cpu"

    def __init__(self, tree: Tree, capacity_cores: float) -> None:
        self._tree = tree
        self._capacity_cores = capacity_cores

    def open(self) -> str:
        return f"process tree, % of {self._capacity_cores:g} cores"

    def start(self, now_ns: int) -> None:
        self._used_ns = self._tree.cpu_ns()
        self._at_ns = now_ns
        self._carried_ns = 0.0

    def read(self, now_ns: int) -> tuple[float, ...]:
        used_ns = self._tree.cpu_ns()
        spent_ns = used_ns - self._used_ns
        self._used_ns = used_ns
        could_ns = (now_ns - self._at_ns) * self._capacity_cores
        self._at_ns = now_ns
        if could_ns <= 0:
            return spent_ns * 1e-9, 0.0
        # A waited-for child hands its time over in one piece: what exceeds 100 % is shown with the next samples.
        shown_ns = min(spent_ns + self._carried_ns, could_ns)
        self._carried_ns += spent_ns - shown_ns
        return spent_ns * 1e-9, 100.0 * shown_ns / could_ns

    def close(self) -> None:
        """Nothing to give back: the tree has an owner."""
