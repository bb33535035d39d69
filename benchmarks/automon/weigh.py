"""Prints what a node at d = 40 adds to a process that has NumPy, KiB, and whether it brought JAX with it."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np

UPDATES = 1000


def resident_kib() -> float:
    """Return the memory of this process that is its own."""
    with open("/proc/self/smaps_rollup") as lines:
        return sum(float(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> None:
    """Make a node, let it check in a zone of vectors and in one of drifts, and weigh."""
    np.ones((2, 40)) @ np.ones(40)  # NumPy's own first use
    gc.collect()
    before = resident_kib()
    from heflwr.automon import Node
    from heflwr.automon.messages import Constraint, version
    from heflwr.automon.zones.dc import DcZone
    from heflwr.automon.zones.slab import SlabZone

    class Sine:
        """A function as a node has it."""

        domain = None

        @staticmethod
        def numpy(x: np.ndarray) -> float:
            return float(np.sin(x).sum())

    x = np.zeros(40)
    node = Node(0, Sine())
    constraints = [
        Constraint(version(1), DcZone(x, 0.0, np.ones(40), -1.0, 1.0, 1.0, True, 0.5), x),
        Constraint(version(2), SlabZone(np.ones(40), 1.0, np.inf, positive=20, factor=np.eye(40)), x),
    ]
    for constraint in constraints:
        assert not node.receive(constraint)
        for _ in range(UPDATES):
            assert not node.update(x)
    gc.collect()
    print(resident_kib() - before, "jax" in sys.modules)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main()
