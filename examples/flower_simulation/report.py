"""What came of the run: a table of every client's cost, one client's samples, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server_app import Ledger

from heflwr.flower import History

_SHOWN_SAMPLES = 6

_COLUMNS = (
    ("client", "{:d}"),
    ("examples", "{:d}"),
    ("epochs", "{:d}"),
    ("seconds", "{:.2f}"),
    ("cpu_seconds", "{:.2f}"),
    ("avg_cpu_usage", "{:.1f}"),
    ("avg_memory_usage", "{:.3f}"),
    ("total_network_bytes_sent", "{:d}"),
    ("total_network_bytes_recv", "{:d}"),
)
_HEADS = ("client", "examples", "epochs", "wall s", "CPU s", "avg CPU %", "avg mem %", "net sent B", "net recv B")


def per_client(ledger: Ledger) -> list[dict[str, Any]]:
    """Return a row a client over all its rounds: seconds and bytes added up, percentages weighted by time."""
    rows = []
    for client in sorted({entry["client"] for entry in ledger}):
        entries = [entry for entry in ledger if entry["client"] == client]
        seconds = sum(entry["seconds"] for entry in entries)
        row = {name: entries[0][name] for name in ("client", "examples", "epochs")}
        for name, _ in _COLUMNS[3:]:
            total = sum(entry[name] * (entry["seconds"] if name.startswith("avg") else 1) for entry in entries)
            row[name] = total / seconds if name.startswith("avg") else total
        rows.append(row)
    return rows


def table(ledger: Ledger) -> str:
    """Return the clients' costs as text, a line a client."""
    lines = [_HEADS]
    lines += [tuple(form.format(row[name]) for name, form in _COLUMNS) for row in per_client(ledger)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def sample_stats(entry: dict[str, Any]) -> str:
    """Return what stats() and summary() gave in one client's round, long lists cut."""
    lines = [f"stats() of client {entry['client']} in round {entry['round']}, one value a sample:"]
    for name, values in entry.items():
        if name.startswith("stats."):
            shown = ", ".join(f"{value:.4g}" for value in values[:_SHOWN_SAMPLES])
            more = f", ... {len(values)} in all" if len(values) > _SHOWN_SAMPLES else ""
            lines.append(f"  {name.removeprefix('stats.')}: [{shown}{more}]")
    lines += [
        "",
        "summary() of the same run; power is off, set_metrics(power=True) switches it on where there is a source:",
    ]
    lines += [f"  {name}: {value:.6g}" for name, value in entry.items() if name.startswith(("avg_", "total_"))]
    return "\n".join(lines)


def rounds_table(history: History) -> str:
    """Return what each round cost by the history that heflwr.flower kept, and what nobody's training used."""
    heads = ("round", "wall s", "calls s", "CPU s", "slowest client", "straggler ratio", "MiB sent", "MiB received")
    lines = [heads]
    summary = history.summary()
    for number, cost in summary["per_round"].items():
        lines.append(
            (
                str(number),
                f"{cost['wall_seconds']:.2f}",
                f"{cost['call_seconds']:.2f}",
                f"{cost['cpu_seconds']:.2f}",
                cost["slowest_name"],
                f"{cost['straggler_ratio']:.2f}",
                f"{cost['bytes_sent'] / 2**20:.2f}",
                f"{cost['bytes_received'] / 2**20:.2f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    overhead = summary["overhead"]
    return (
        f"{text}\n"
        f"all processes of the run used {overhead['cpu_seconds']:.1f} CPU seconds in {overhead['seconds']:.1f} s: "
        f"{overhead['clients_cpu_seconds']:.1f} in clients' calls, {overhead['overhead_cpu_seconds']:.1f} beside them\n"
        f"(the server's, Flower's and Ray's own; {overhead['startup_cpu_seconds']:.1f} of it to start the workers)"
    )


def picture(ledger: Ledger, accuracies: list[float], image: Path) -> None:
    """Draw accuracy over the rounds, what each client spent in each round, and cost against work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rounds = sorted({entry["round"] for entry in ledger})
    rows = per_client(ledger)
    clients = [row["client"] for row in rows]
    shades = [pyplot.get_cmap("Blues")(0.35 + 0.6 * at / max(1, len(rounds) - 1)) for at in range(len(rounds))]
    figure, ((learned, work), (cpu, wall)) = pyplot.subplots(2, 2, figsize=(11, 7.5), layout="constrained")

    learned.plot(range(len(accuracies)), accuracies, marker="o", color="#3a9a6b")
    for at, accuracy in enumerate(accuracies):
        learned.annotate(f"{accuracy:.2f}", (at, accuracy), (3, -14), textcoords="offset points", fontsize=9)
    learned.set(xlabel="round", ylabel="share of held-out digits", ylim=(-0.08, 1.05), xticks=range(len(accuracies)))
    learned.set_title("Accuracy of the common model", loc="left", fontweight="bold")

    steps = [row["examples"] * row["epochs"] * len(rounds) / 1000 for row in rows]
    work.scatter(steps, [row["cpu_seconds"] for row in rows], color="#e07b39", zorder=3)
    for row, step in zip(rows, steps, strict=True):
        at = (step, row["cpu_seconds"])
        work.annotate(str(row["client"]), at, (-4, 6), textcoords="offset points", ha="right", fontsize=9)
    work.set(xlabel="thousand examples trained on, in all epochs and rounds", ylabel="CPU seconds")
    work.set(xlim=(0, None), ylim=(0, None))
    work.set_title("Cost against work, a dot a client", loc="left", fontweight="bold")

    for axes, name, label in ((cpu, "cpu_seconds", "CPU seconds"), (wall, "seconds", "wall-clock seconds")):
        base = dict.fromkeys(clients, 0.0)
        for round_number, shade in zip(rounds, shades, strict=True):
            spent = {entry["client"]: entry[name] for entry in ledger if entry["round"] == round_number}
            heights = [spent.get(client, 0.0) for client in clients]
            axes.bar(clients, heights, bottom=list(base.values()), color=shade, label=f"round {round_number}")
            base = {client: base[client] + spent.get(client, 0.0) for client in clients}
        axes.set(xlabel="client", ylabel=label, xticks=clients)
        axes.set_title(f"{label[0].upper()}{label[1:]} by round", loc="left", fontweight="bold")
    cpu.legend(fontsize=8, frameon=False)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.savefig(image, dpi=120)
    pyplot.close(figure)
