"""`python -m heflwr.collector`: serve a collector until SIGTERM or Ctrl-C."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

from waitress.server import create_server

from heflwr.collector.app import create_app
from heflwr.collector.ingest import BODY_BYTES
from heflwr.collector.store import Store, StoreUnavailable

TOKEN_VARIABLE = "HEFLWR_COLLECTOR_TOKEN"

THREADS = 8
"""Requests at a time. Writing is one at a time anyway; these are for readers and for slow networks."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(arguments: list[str] | None = None) -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m heflwr.collector", description="Collects what monitors send.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: only this machine)")
    parser.add_argument("--port", type=int, default=5000, help="TCP port, 0 picks one (default: 5000)")
    parser.add_argument("--database", default="heflwr.db", help="SQLite file (default: heflwr.db)")
    parser.add_argument(
        "--token",
        default=os.environ.get(TOKEN_VARIABLE) or None,
        help=f"ask for this bearer token; better set {TOKEN_VARIABLE}, which `ps` does not show",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, got {options.port}")
    if options.token == "":
        parser.error("--token must not be empty; leave it out to ask for none")
    if options.token is None and options.host not in _LOOPBACK:
        print(f"warning: anyone who reaches {options.host} can read and write; set a token", file=sys.stderr)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _leave)
    try:
        with Store(options.database) as store:
            return _serve(store, options)
    except StoreUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _serve(store: Store, options: argparse.Namespace) -> int:
    # Waitress: pure Python and threads, so that it installs on every board and runs on Windows as well.
    try:
        server = create_server(
            create_app(store, token=options.token),
            host=options.host,
            port=options.port,
            threads=THREADS,
            ident=None,  # do not tell strangers what we run
            max_request_body_size=2 * BODY_BYTES,  # above ours: what is just too large gets a reason in JSON
        )
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error}; choose another --port", file=sys.stderr)
        return 1
    listening = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    for host, port in listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"heflwr collector on http://{shown}:{port} (database {store.path})", flush=True)
    server.run()  # ends on SystemExit, and lets running requests finish
    server.close()
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
