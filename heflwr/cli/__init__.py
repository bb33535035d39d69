"""The `heflwr` command: each subcommand is a module of this folder, imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from heflwr import __version__
from heflwr.cli import destinations, fleet, k8s
from heflwr.monitor.metrics import DEFAULT_GROUPS, GROUPS

__all__ = ["main"]

_HIDDEN = "\0--"
"""Stands for "--" while argparse looks: it would take one away, and not always ours. No argument can hold a NUL."""

_RUN_HELP = """\
Run a command and measure it with all its children: CPU, memory, network and whatever else --metrics asks for.
Its input, output and exit code pass through untouched; a summary follows on stderr."""

_RUN_EPILOG = """\
examples:
  heflwr run -- python train.py --epochs 3                    only a summary at the end
  heflwr run --format jsonl -- python train.py                samples go to ./log.jsonl too
  heflwr run --file run.csv --interval 0.1 -- make -j         the file's ending says the format
  heflwr run --metrics cpu,memory,disk,threads -- ./train.sh
  heflwr run --prometheus 9200 --collector http://collector:5000 -- python train.py

exit code: the command's own; 128+n when signal n ended it; 126 it cannot be executed, 127 there is no such command,
125 it was not started, because what was asked for cannot be measured or written."""

_PLOT_HELP = """\
Draw a file of samples over time, a panel for each group of metrics that is in it: CPU, memory, network, power, ...
Reads the text, JSON lines and CSV of `heflwr run` and FileMonitor.
Of the history of a Flower run: who computed when, what it took of CPU, memory and energy, and what the model gained.
Reads the JSON lines, CSV and Parquet of History.save() and HistoryFile."""

_PLOT_EPILOG = """\
examples:
  heflwr plot log.jsonl                    draws the newest run in it to log.png
  heflwr plot log.jsonl -o run.svg         the ending says the format: png, svg, pdf
  heflwr plot log.jsonl --all              all runs in it, one colour each
  heflwr plot log.jsonl --run 3fa9         the run whose id begins like this
  heflwr plot history.jsonl                what a Flower run cost, node by node"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name, default those of this process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["collector"]:
        return _collector(words[1:])
    if words[:1] == ["run"]:
        words = [_HIDDEN if word == "--" else word for word in words]
    parser = _parser()
    options = parser.parse_args(words)
    if options.subcommand in fleet.SUBCOMMANDS:
        return fleet.run(parser, options)
    if options.subcommand == "k8s":
        return k8s.run(options)
    if options.subcommand == "plot":
        from heflwr.cli.plot import plot

        return plot(options.log, output=options.output, run=options.run, is_all=options.all)
    if options.subcommand == "run":
        command = ["--" if word == _HIDDEN else word for word in options.command]
        if options.command[:1] == [_HIDDEN]:
            del command[0]
        if not command:
            parser.error("nothing to run; write: heflwr run -- COMMAND")
        try:
            sinks = destinations.sinks(options)
        except ValueError as error:
            parser.error(str(error))
        from heflwr.cli.run import run

        return run(
            command,
            identifier=options.identifier,
            sinks=sinks,
            file=options.file,
            format=options.format,
            interval=options.interval,
            groups=options.metrics,
            is_quiet=options.quiet,
        )
    parser.print_help()
    return 0


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="heflwr", description="Measure what training really costs.", formatter_class=layout
    )
    parser.add_argument("--version", action="version", version=f"heflwr {__version__}")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="COMMAND")

    run = subcommands.add_parser(
        "run", help="run a command and measure it", description=_RUN_HELP, epilog=_RUN_EPILOG, formatter_class=layout,
        usage="heflwr run [options] -- COMMAND [ARGUMENT ...]",
    )  # fmt: skip
    run.add_argument("--file", metavar="PATH", help="append every sample to this file")
    run.add_argument(
        "--format",
        choices=("text", "jsonl", "csv"),
        help="of the file, default by its ending; without --file the file is ./log.txt, ./log.jsonl or ./log.csv",
    )
    run.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between samples, default 1")
    run.add_argument(
        "--metrics",
        type=_groups,
        metavar="LIST",
        default={name for name, is_on in DEFAULT_GROUPS.items() if is_on},
        help=f"measure exactly these, comma-separated, of {', '.join(GROUPS)}; default cpu,memory,network",
    )
    run.add_argument("--quiet", action="store_true", help="no live line and no summary, only errors")
    destinations.add(run)
    run.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    plot = subcommands.add_parser(
        "plot",
        help="draw a file of samples or a Flower run",
        description=_PLOT_HELP,
        epilog=_PLOT_EPILOG,
        formatter_class=layout,
    )
    plot.add_argument("log", metavar="FILE", help="what `heflwr run`, a FileMonitor or a History wrote")
    plot.add_argument("-o", "--output", metavar="IMAGE", help="where to draw, default FILE with the ending .png")
    which = plot.add_mutually_exclusive_group()
    which.add_argument("--run", metavar="ID", help="the run to draw, default the newest in the file")
    which.add_argument("--all", action="store_true", help="draw every run in the file")

    subcommands.add_parser("collector", help="take samples from other machines")
    fleet.add(subcommands)
    k8s.add(subcommands)
    return parser


def _collector(words: list[str]) -> int:
    try:
        from heflwr.collector.__main__ import main as collect
    except ModuleNotFoundError as error:
        if error.name not in ("flask", "waitress", "prometheus_client"):
            raise
        print(f"heflwr: the collector needs {error.name}: pip install 'heflwr[collector]'", file=sys.stderr)
        return 1
    return collect(words)


def _groups(text: str) -> set[str]:
    names = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := sorted(names - set(GROUPS)):
        raise argparse.ArgumentTypeError(f"there is no metric {unknown[0]!r}; choose from {', '.join(GROUPS)}")
    if not names:
        raise argparse.ArgumentTypeError(f"name at least one of {', '.join(GROUPS)}")
    return names
