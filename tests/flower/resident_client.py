"""A short process that meets a resident agent, as a ClientApp's does: `python resident_client.py OPTIONS [WHAT]`.

OPTIONS are those of `Resident` as JSON; "port" stands for a sink, and pid "self" for the process itself. It prints a
line of JSON: for each mark its numbers and the note, then what the agent says of itself. WHAT is a function below.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
sys.modules["heflwr.flower"] = package = types.ModuleType("heflwr.flower")  # many of us start: do without Flower
package.__path__ = [str(ROOT / "heflwr" / "flower")]

from heflwr.flower.client.resident import Resident  # noqa: E402
from heflwr.monitor.probes.tree_linux import LinuxTree  # noqa: E402
from heflwr.monitor.sinks import Sink  # noqa: E402
from heflwr.monitor.sinks.prometheus import PrometheusSink  # noqa: E402


def make(options: dict[str, Any]) -> Resident:
    sinks: list[Sink] = []
    if (port := options.pop("port", None)) is not None:
        sinks.append(PrometheusSink(port, host="127.0.0.1"))
    if options.get("pid") == "self":
        options["pid"] = os.getpid()
    return Resident(sinks=sinks, **options)


def call(resident: Resident) -> None:
    """Mark the begin and the end of a call."""
    marks = [(resident.mark(), resident.note), (resident.mark(), resident.note)]
    print(json.dumps([marks, resident.facts]))


def wait_for_children(resident: Resident) -> None:
    """Mark, then wait for whatever children this process has, as some programs do."""
    resident.mark()
    try:
        while True:
            os.wait()
    except ChildProcessError:
        print(json.dumps("no child is left"))


def mark_in_a_fork(resident: Resident) -> None:
    """Mark here, in a forked child, and here again."""
    first = resident.mark()
    if (pid := os.fork()) == 0:
        os._exit(0 if resident.mark() else 1)
    in_child = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([first is not None, in_child, resident.mark() is not None]))


def take_orphans_in(resident: Resident) -> None:
    """Become the parent of orphans; say whether the agent is our child, and who else is in our tree."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    while not resident.facts:
        resident.mark()
        time.sleep(0.01)
    tree = LinuxTree(os.getpid(), "/proc", True)
    tree.open()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    others = [pid for pid in tree.pids() if pid != os.getpid() and Path(f"/proc/{pid}/cmdline").read_bytes()]
    tree.close()
    print(json.dumps([str(resident.facts["pid"]) in children, others]))


if __name__ == "__main__":
    with make(json.loads(sys.argv[1])) as made:
        globals()[sys.argv[2] if len(sys.argv) > 2 else "call"](made)
