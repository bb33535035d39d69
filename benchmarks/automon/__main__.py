"""Count the messages of heflwr.automon on recorded data beside a reference's, and time it.

The data sets are looked for in --data or the folder that HEFLWR_AUTOMON_DATA names; without them, data of the same kind
are generated and there is no reference. A whole run takes three to eight minutes, a quick one one to three.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # vectors this small are slower on two

from benchmarks.monitor import machine

from .counts import count
from .data_sets import DataSet, generated, missing, recorded
from .goals import judge
from .plot import draw
from .report import markdown
from .speed import EFFORTS, measure

VARIABLE = "HEFLWR_AUTOMON_DATA"


def main() -> int:
    """Run the benchmark; the exit code tells whether it ran, not what the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.automon", description=__doc__)
    parser.add_argument("--data", type=Path, help=f"folder of the recorded data sets (default: ${VARIABLE})")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="preset", action="store_const", const="quick", help="fewer bounds and sizes")
    size.add_argument(
        "--smoke", dest="preset", action="store_const", const="smoke", help="seconds; figures mean nothing"
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench/automon"), help="folder of the results")
    arguments = parser.parse_args()
    preset = arguments.preset or "full"
    began, before = time.monotonic(), machine.busy_and_stolen()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    folder = arguments.data or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    sets = _data_sets(folder, preset)
    if sets is None:
        return 2
    results: dict[str, Any] = {"preset": preset, "source": "generated" if not sets[0].reference else "recorded"}
    results["rows"] = [
        count(data_set, bound, say) for data_set in sets for bound in _bounds(data_set.error_bounds, preset)
    ]
    say("times")
    results["speed"] = measure(EFFORTS[preset])
    busy, _, total = (late - early for late, early in zip(machine.busy_and_stolen(), before, strict=True))
    results["machine"] = machine.facts() | {"busy_percent": 100 * busy / total}
    results["seconds"] = time.monotonic() - began
    results["goals"] = [{"goal": goal.name, "figure": figure, "outcome": text} for goal, figure, text in judge(results)]
    text = markdown(results)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.md").write_text(text)
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results["rows"], arguments.out / "results.png")
    print(text)
    print(f"written: {arguments.out}/results.md, results.json, results.png")
    return 0


def _data_sets(folder: Path | None, preset: str) -> list[DataSet] | None:
    """Return what to run on; None where a folder was named and is not what it should be."""
    if folder is None:
        print(
            f"no recorded data: name their folder with --data or {VARIABLE}; running on generated data instead",
            file=sys.stderr,
        )
        return generated(rounds=60 if preset == "smoke" else 1000)
    absent = missing(folder)
    if absent:
        print(f"the folder {folder} must hold {', '.join(absent)}", file=sys.stderr)
        return None
    return recorded(folder)


def _bounds(bounds: tuple[float, ...], preset: str) -> tuple[float, ...]:
    """Return the error bounds to run at: all; the tightest, the middle one and the widest; or one."""
    if preset != "quick":
        return bounds if preset == "full" else bounds[-1:]
    return tuple(dict.fromkeys((bounds[0], bounds[len(bounds) // 2], bounds[-1])))


if __name__ == "__main__":
    sys.exit(main())
