"""The subcommands of the live channel, agent, coordinator and keys: what they take, by arguments or the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SUBCOMMANDS = ("agent", "coordinator", "keys")

_AGENT_HELP = """\
Sample this machine, or one process with its descendants, and speak to a coordinator only where a watched function of
the whole fleet could be further off than its bound. Connects out, and for ever again: behind a NAT, too."""

_COORDINATOR_HELP = """\
Know functions of a whole fleet within their bounds, from the few messages of its agents. Prints each as
    value +- bound unit (guarantee), live, stale and lost agents; messages for so many local vectors
where "+- ?" says that somebody is awaited or silent, so that no bound is known now."""

_KEYS_HELP = """\
Keys that agents and their coordinator know each other by; without any, both stay on one machine.

  the coordinator    heflwr keys new keys                          prints its public key C
  each agent         heflwr keys new keys --coordinator C          prints its public key A
  the coordinator    heflwr keys add keys NAME A                   lets it in, from then on"""

_EPILOG = """\
Options are read from the environment too, as HEFLWR_{prefix}_WATCH and so on; arguments come first.

a list of functions:
  [[watch]]
  kind = "mean"             # or total, quantile, imbalance, ...: what heflwr.automon.fleet has
  metric = "cpu_usage"
  bound = 2.0               # how far off the answer may be"""


class _Option(NamedTuple):
    name: str
    kind: Callable[[str], Any]
    default: Any
    metavar: str
    meaning: str


_AGENT_OPTIONS = (
    _Option("watch", str, None, "FILE", "the list of watched functions, TOML; the coordinator has the same"),
    _Option("connect", str, "127.0.0.1:7100", "HOST:PORT", "the coordinator, default %(default)s"),
    _Option("keys", str, None, "FOLDER", "this agent's keys; without them the coordinator is on this machine"),
    _Option("identifier", str, None, "NAME", "default what the coordinator calls the key, else the host's name"),
    _Option("interval", float, 1.0, "SECONDS", "between samples, default %(default)s"),
    _Option("pid", int, None, "PID", "watch this process and its descendants until it ends, default the whole machine"),
    _Option("values", str, None, "FILE", "more metrics: a JSON object of numbers, read at each sample"),
)

_COORDINATOR_OPTIONS = (
    _Option("watch", str, None, "FILE", "the list of watched functions, TOML"),
    _Option("listen", str, "127.0.0.1:7100", "HOST:PORT", "where agents connect to, default %(default)s"),
    _Option("keys", str, None, "FOLDER", "the coordinator's keys; without them only this machine can connect"),
    _Option("agents", int, 1, "N", "how many the first answer waits for, one lease long; default %(default)s"),
    _Option("lease", float, 12.0, "SECONDS", "how long an agent may be silent, default %(default)s"),
    _Option("state", str, None, "FILE", "where the state is kept, to go on from after a restart"),
    _Option("prometheus", int, None, "PORT", "serve metrics; 0 picks a free port"),
    _Option("prometheus-host", str, "127.0.0.1", "HOST", "where metrics are served, default %(default)s"),
    _Option("collector", str, None, "URL", "post the answers to a collector; its token is in HEFLWR_COLLECTOR_TOKEN"),
    _Option("identifier", str, "coordinator", "NAME", "who posts, default %(default)s"),
    _Option("print", float, 5.0, "SECONDS", "between two lots of lines, and of posts, default %(default)s"),
)


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Say what the subcommands take."""
    layout = argparse.RawDescriptionHelpFormatter
    for name, summary, description, options in (
        ("agent", "watch this machine as one of a fleet", _AGENT_HELP, _AGENT_OPTIONS),
        ("coordinator", "know a fleet from its agents", _COORDINATOR_HELP, _COORDINATOR_OPTIONS),
    ):
        epilog = _EPILOG.format(prefix=name.upper())
        parser = subcommands.add_parser(
            name, help=summary, description=description, epilog=epilog, formatter_class=layout
        )
        for option in options:
            default = os.environ.get(_variable(name, option.name), option.default)
            parser.add_argument(
                f"--{option.name}", type=option.kind, default=default, metavar=option.metavar, help=option.meaning
            )
    keys = subcommands.add_parser(
        "keys", help="let agents and their coordinator know each other", description=_KEYS_HELP, formatter_class=layout
    )
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a pair of keys in a folder, and print the public one")
    let_in = actions.add_parser("add", help="let an agent in")
    show = actions.add_parser("show", help="print the public key, and the agents that are let in")
    for action in (new, let_in, show):
        action.add_argument("folder", metavar="FOLDER", type=Path)
    new.add_argument("--coordinator", metavar="KEY", help="an agent's: the public key of its coordinator")
    let_in.add_argument("name", metavar="NAME", help="what the agent is called from now on")
    let_in.add_argument("key", metavar="KEY", help="its public key")


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Carry out one of the subcommands; return the exit code."""
    if options.subcommand != "keys" and options.watch is None:
        parser.error(f"nothing is watched; give --watch FILE, or {_variable(options.subcommand, 'watch')}")
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "zmq"):
            raise
        print(f"heflwr: the live channel needs {error.name}: pip install 'heflwr[live]'", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.subcommand == "agent":
        from heflwr.cli.agent import agent

        return agent(
            watch=options.watch,
            connect=options.connect,
            keys=options.keys,
            identifier=options.identifier,
            interval=options.interval,
            pid=options.pid,
            values=options.values,
        )
    if options.subcommand == "coordinator":
        from heflwr.cli.coordinator import coordinator

        return coordinator(
            watch=options.watch,
            listen=options.listen,
            keys=options.keys,
            agents=options.agents,
            lease=options.lease,
            state=options.state,
            prometheus=options.prometheus,
            prometheus_host=options.prometheus_host,
            collector=options.collector,
            identifier=options.identifier,
            print_seconds=options.print,
        )
    from heflwr.cli import keys

    if options.action == "new":
        return keys.make(options.folder, options.coordinator)
    return (
        keys.let_in(options.folder, options.name, options.key) if options.action == "add" else keys.show(options.folder)
    )


def _variable(subcommand: str, option: str) -> str:
    """Return the environment variable that stands for an option."""
    return f"HEFLWR_{subcommand}_{option}".upper().replace("-", "_")
