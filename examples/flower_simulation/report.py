"""What came of the run: tables of what clients and rounds cost, one client's samples, and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import task

from heflwr.flower import Entry, History

_SHOWN_SAMPLES = 6


def client_table(history: History) -> str:
    """Return a line a client: its task, and what its calls cost in all rounds together."""
    lines = [["client", "examples", "epochs", "wall s", "CPU s", "avg CPU %", "peak MiB", "KiB sent", "KiB received"]]
    for row in _clients(history):
        usage = sum(entry.cost["cpu_usage"] * entry.cost["seconds"] for entry in row["entries"]) / row["call_seconds"]
        lines.append(
            [
                row["name"],
                f"{row['examples']:.0f}",
                f"{row['epochs']}",
                f"{row['call_seconds']:.2f}",
                f"{row['cpu_seconds']:.2f}",
                f"{usage:.1f}",
                f"{row['memory_peak_bytes'] / 2**20:.0f}",
                f"{row['bytes_sent'] / 2**10:.0f}",
                f"{row['bytes_received'] / 2**10:.0f}",
            ]
        )
    return _aligned(lines)


def rounds_table(history: History) -> str:
    """Return what each round cost, and what the run used that no client's call did."""
    lines = [["round", "wall s", "calls s", "CPU s", "slowest client", "straggler ratio", "MiB sent", "MiB received"]]
    summary = history.summary()
    for number, cost in summary["per_round"].items():
        lines.append(
            [
                str(number),
                f"{cost['wall_seconds']:.2f}",
                f"{cost['call_seconds']:.2f}",
                f"{cost['cpu_seconds']:.2f}",
                cost["slowest_name"],
                f"{cost['straggler_ratio']:.2f}",
                f"{cost['bytes_sent'] / 2**20:.2f}",
                f"{cost['bytes_received'] / 2**20:.2f}",
            ]
        )
    overhead = summary["overhead"]
    return (
        f"{_aligned(lines)}\n"
        f"all processes of the run used {overhead['cpu_seconds']:.1f} CPU seconds in {overhead['seconds']:.1f} s: "
        f"{overhead['clients_cpu_seconds']:.1f} in clients' calls, {overhead['overhead_cpu_seconds']:.1f} beside them\n"
        f"(the server's, Flower's and Ray's own; {overhead['startup_cpu_seconds']:.1f} of it to start the workers)"
    )


def sample_stats(file: Path) -> str:
    """Return what stats() and summary() gave in one client's last round, long lists cut."""
    told = json.loads(file.read_text())
    lines = [f"stats() of {file.stem}'s own monitor in the last round, one value a sample:"]
    for name, values in told["stats"].items():
        shown = ", ".join(f"{value:.4g}" for value in values[:_SHOWN_SAMPLES])
        more = f", ... {len(values)} in all" if len(values) > _SHOWN_SAMPLES else ""
        lines.append(f"  {name}: [{shown}{more}]")
    lines += [
        "",
        "summary() of the same run; power is off, set_metrics(power=True) switches it on where there is a source:",
    ]
    lines += [f"  {name}: {value:.6g}" for name, value in told["summary"].items()]
    return "\n".join(lines)


def picture(history: History, image: Path) -> None:
    """Draw accuracy over the rounds, what each client spent in each round, and cost against work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _clients(history)
    clients = [row["name"] for row in rows]
    rounds = sorted({entry.round for entry in history.entries})
    scores = {number: metrics["accuracy"] for number, metrics in sorted(history.scores.items())}
    shades = [pyplot.get_cmap("Blues")(0.35 + 0.6 * at / max(1, len(rounds) - 1)) for at in range(len(rounds))]
    figure, ((learned, work), (cpu, wall)) = pyplot.subplots(2, 2, figsize=(11, 7.5), layout="constrained")

    learned.plot(list(scores), list(scores.values()), marker="o", color="#3a9a6b")
    for number, accuracy in scores.items():
        learned.annotate(f"{accuracy:.2f}", (number, accuracy), (3, -14), textcoords="offset points", fontsize=9)
    learned.set(xlabel="round", ylabel="share of held-out digits", ylim=(-0.08, 1.05), xticks=list(scores))
    learned.set_title("Accuracy of the common model", loc="left", fontweight="bold")

    steps = [row["examples"] * row["epochs"] * len(rounds) / 1000 for row in rows]
    work.scatter(steps, [row["cpu_seconds"] for row in rows], color="#e07b39", zorder=3)
    for row, step in zip(rows, steps, strict=True):
        at = (step, row["cpu_seconds"])
        work.annotate(row["name"], at, (-4, 6), textcoords="offset points", ha="right", fontsize=9)
    work.set(xlabel="thousand examples trained on, in all epochs and rounds", ylabel="CPU seconds")
    work.set(xlim=(0, None), ylim=(0, None))
    work.set_title("Cost against work, a dot a client", loc="left", fontweight="bold")

    for axes, column, label in ((cpu, "cpu_seconds", "CPU seconds"), (wall, "seconds", "wall-clock seconds")):
        base = [0.0] * len(rows)
        for number, shade in zip(rounds, shades, strict=True):
            heights = [sum(e.cost[column] for e in row["entries"] if e.round == number) for row in rows]
            axes.bar(clients, heights, bottom=base, color=shade, label=f"round {number}")
            base = [below + height for below, height in zip(base, heights, strict=True)]
        axes.set(xlabel="client", ylabel=label)
        axes.set_title(f"{label[0].upper()}{label[1:]} by round", loc="left", fontweight="bold")
    cpu.legend(fontsize=8, frameon=False)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.savefig(image, dpi=120)
    pyplot.close(figure)


def _clients(history: History) -> list[dict[str, Any]]:
    """Return the history's summary of each client, in their order, with its task and its calls."""
    calls: dict[int, list[Entry]] = {}
    for entry in history.entries:
        calls.setdefault(entry.node, []).append(entry)
    rows = []
    for node, row in history.summary()["per_node"].items():
        epochs = task.EPOCHS[int(row["name"]) % len(task.EPOCHS)]
        examples = calls[node][0].metrics["num-examples"]
        rows.append(row | {"examples": examples, "epochs": epochs, "entries": calls[node]})
    return sorted(rows, key=lambda row: int(row["name"]))


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
