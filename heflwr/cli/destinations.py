"""Where `heflwr run` sends samples beside a file: to a Prometheus that scrapes it, to a collector."""

from __future__ import annotations

import argparse
import os

from heflwr.monitor.arguments import IDENTIFIER_LENGTH
from heflwr.monitor.sinks import Sink

TOKEN = "HEFLWR_COLLECTOR_TOKEN"
"""Variable with the collector's token: `ps` shows arguments to everybody."""

LOCAL = "127.0.0.1"
"""Where metrics are served: whoever reaches them may read them."""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what there is to choose."""
    group = parser.add_argument_group("to other machines")
    group.add_argument("--identifier", metavar="NAME", help="what is measured, default the command's name")
    group.add_argument("--prometheus", type=int, metavar="PORT", help="serve metrics; 0 picks a free port")
    group.add_argument("--prometheus-host", metavar="HOST", help=f"where metrics are served, default {LOCAL}")
    group.add_argument("--collector", metavar="URL", help=f"send samples to a collector; its token is in {TOKEN}")
    group.add_argument(
        "--advertise",
        metavar="HOST[:PORT]",
        help="where Prometheus reaches the metrics: the collector tells it, for as long as this runs",
    )


def sinks(options: argparse.Namespace) -> list[Sink]:
    """Return what was chosen. Raises ValueError where it cannot be meant."""
    found: list[Sink] = []
    token = os.environ.get(TOKEN) or None
    if options.identifier == "":
        raise ValueError("--identifier must not be empty; leave it out for the command's name")
    if options.identifier is not None and len(options.identifier) > IDENTIFIER_LENGTH:
        raise ValueError(f"--identifier must have 1 to {IDENTIFIER_LENGTH} characters, got {len(options.identifier)}")
    if options.prometheus_host is not None and options.prometheus is None:
        raise ValueError("--prometheus-host says where metrics are served; give --prometheus as well")
    if options.advertise is not None and None in (options.prometheus, options.collector):
        raise ValueError("--advertise tells a collector where metrics are; give --prometheus and --collector as well")
    if options.prometheus is not None:
        from heflwr.monitor.sinks.prometheus import PrometheusSink

        known = {"register": options.collector, "register_token": token, "advertise": options.advertise}
        where = known if options.advertise is not None else {}
        labels = {} if options.identifier is None else {"identifier": options.identifier}
        found.append(PrometheusSink(options.prometheus, host=options.prometheus_host or LOCAL, labels=labels, **where))
    if options.collector is not None:
        from heflwr.monitor.sinks.remote import RemoteSink

        found.append(RemoteSink(options.collector, simple=False, token=token))
    return found
