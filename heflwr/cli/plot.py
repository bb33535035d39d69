"""`heflwr plot`: read a file of samples or a Flower run's history, draw what is asked for, and say what was drawn."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from heflwr.cli.picture import draw
from heflwr.cli.reading import RunLog, read_log

_FAILED = 1

_HISTORY_BEGINS = (b'{"type":"heflwr history"', b"node,name,round,", b"PAR1")
"""How a history begins as JSON lines, CSV and Parquet: known here, so that samples are drawn without Flower."""


def plot(log: str, *, output: str | None = None, run: str | None = None, is_all: bool = False) -> int:
    """Draw a file of samples, or the history of a Flower run.

    Args:
        log: What FileSink, `History.save` or `HistoryFile` wrote.
        output: The picture; its ending says the format. Default `log` with the ending .png.
        run: The beginning of the id of the run to draw; default the newest. Only of samples.
        is_all: Draw every run. Only of samples.

    Returns:
        The exit code: 0, or 1 with the reason on stderr.
    """
    path = Path(log)
    image = Path(output) if output is not None else path.with_suffix(".png")
    try:
        if _is_history(path):
            if run is not None or is_all:
                return _fail("--run and --all choose from files of samples; of a history the newest run is drawn")
            return _plot_history(path, image)
        content = read_log(path)
    except OSError as error:
        return _fail(f"cannot read {path}: {error.strerror}")
    if content.bad_lines:
        _say(f"{path}: left out {content.bad_lines} lines that are torn or no samples")
    runs = [one for one in content.runs if one.elapsed]
    if not runs:
        return _fail(f"{path} holds no samples of heflwr (text, JSON lines or CSV)")
    try:
        chosen = runs if is_all else [_choose(runs, run)]
    except LookupError as error:
        return _fail(str(error.args[0]))
    try:
        draw(chosen, image)
    except ImportError:
        return _fail("drawing needs matplotlib: pip install 'heflwr[plot]'")
    except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not know
        return _fail(f"cannot write {image}: {error}")
    names = ", ".join(f"{one.run} ({len(one.elapsed)} samples)" for one in chosen)
    others = len(runs) - len(chosen)
    left = f"; {others} more in the file, see --run and --all" if others else ""
    print(f"{image}: run {names}{left}")
    return 0


def _is_history(path: Path) -> bool:
    """Tell by a file's first bytes; a pipe gives its bytes only once, to the reader of samples. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(max(map(len, _HISTORY_BEGINS))).startswith(_HISTORY_BEGINS)


def _plot_history(path: Path, image: Path) -> int:
    try:
        from heflwr.flower.history.ledger import History
        from heflwr.flower.history.picture import draw as draw_history
    except ModuleNotFoundError as error:
        return _fail(f"the history of a Flower run needs {error.name}: pip install 'heflwr[flower]'")
    try:
        history = History.load(path)
    except (ImportError, ValueError) as error:
        return _fail(str(error))
    if history.bad_lines:
        _say(f"{path}: left out {history.bad_lines} lines that are torn or no messages")
    entries = history.entries
    if not entries:
        return _fail(f"{path} holds a history without messages")
    try:
        draw_history(entries, history.scores, image)
    except ImportError as error:
        return _fail(str(error))
    except (OSError, ValueError) as error:
        return _fail(f"cannot write {image}: {error}")
    rounds, nodes = {entry.round for entry in entries} - {0}, {entry.node for entry in entries}
    print(f"{image}: history of {len(nodes)} nodes, {len(rounds)} rounds, {len(entries)} messages")
    return 0


def _choose(runs: Sequence[RunLog], wanted: str | None) -> RunLog:
    """Return the run whose id begins with `wanted`, or the newest. Raises LookupError."""
    if wanted is None:
        return max(runs, key=lambda one: one.started.timestamp() if one.started else -math.inf)
    found = [one for one in runs if one.run.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs begin with" if found else "there is no run"
    known = "".join(f"\n  {one.run}  {one.when}  {one.identifier}" for one in found or runs)
    raise LookupError(f"{what} {wanted!r}; choose from:{known}")


def _fail(reason: str) -> int:
    _say(reason)
    return _FAILED


def _say(text: str) -> None:
    print(f"heflwr plot: {text}", file=sys.stderr)
