"""Prints what a node at d = 40 adds to a process that has NumPy, KiB, and whether it brought JAX with it."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np


def resident_kib() -> float:
    """Return the memory of this process that is its own."""
    with open("/proc/self/smaps_rollup") as lines:
        return sum(float(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> None:
    """Make a node, let it check, and weigh."""
    np.ones((2, 40)) @ np.ones(40)  # NumPy's own first use
    gc.collect()
    before = resident_kib()
    from heflwr.automon.messages import Constraint, version
    from heflwr.automon.protocols.node import Node, NodeState
    from heflwr.automon.zones.dc import DcZone

    class Sine:
        """A function as a node has it."""

        domain = None

        @staticmethod
        def numpy(x: np.ndarray) -> float:
            return float(np.sin(x).sum())

    x = np.zeros(40)
    zone = DcZone(x, 0.0, np.ones(40), -1.0, 1.0, 1.0, True, 0.5)
    node = Node(NodeState(0), Sine())
    node.receive(Constraint(version(1), zone, x))
    for _ in range(100):
        assert not node.update(x)
    gc.collect()
    print(resident_kib() - before, "jax" in sys.modules)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main()
