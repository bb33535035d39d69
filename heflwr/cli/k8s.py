"""`heflwr k8s render`: manifests for Kubernetes, with a cluster's own values filled in."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

_HELP = """\
Print manifests for Kubernetes: a collector with its disk, a SuperLink, a monitored SuperNode on every node, network
policies, and what the Prometheus Operator needs to scrape them."""

_EPILOG = """\
examples:
  heflwr k8s render --image registry.example/collector:1.0 | kubectl apply -f -
  heflwr k8s render --out cluster                  then: kubectl apply -k cluster/prometheus-operator
  heflwr k8s render --no-monitors --storage 50Gi   for a cluster without the Prometheus Operator

The collector's token comes from a Secret, which is not among them:
  kubectl -n heflwr create secret generic heflwr-collector --from-literal=token="$(openssl rand -hex 32)"
"""


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Say what the subcommand takes."""
    from heflwr.k8s.values import Values

    layout = argparse.RawDescriptionHelpFormatter
    k8s = subcommands.add_parser("k8s", help="manifests for Kubernetes", description=_HELP, formatter_class=layout)
    actions = k8s.add_subparsers(dest="action", metavar="ACTION", required=True)
    render = actions.add_parser(
        "render",
        help="print them, or write them to a folder",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=layout,
    )
    for value in fields(Values):
        render.add_argument(
            f"--{value.name.replace('_', '-')}",
            default=value.default,
            metavar="VALUE",
            help=f"{value.metadata['help']}, default %(default)s",
        )
    render.add_argument("--no-monitors", action="store_true", help="no ServiceMonitor and no PodMonitor")
    render.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write kustomizations there: base, prometheus-operator"
    )


def run(options: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from heflwr.k8s import Values, render, write

    try:
        values = Values(**{value.name: getattr(options, value.name) for value in fields(Values)})
        is_with_monitors = not options.no_monitors
        if options.out is None:
            print(render(values, is_with_monitors=is_with_monitors), end="")
            return 0
        for path in write(values, options.out, is_with_monitors=is_with_monitors):
            print(path)
    except (ValueError, OSError) as error:
        print(f"heflwr: {error}", file=sys.stderr)
        return 1
    return 0
