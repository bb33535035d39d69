"""`heflwr collector`: serve a collector, make tokens for it, compact its database."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import ssl
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from heflwr.collector.app import create_app
from heflwr.collector.checks import IDENTIFIER_LENGTH
from heflwr.collector.fleet import Fleet
from heflwr.collector.guard import LOOPBACK
from heflwr.collector.room import make_room
from heflwr.collector.serving import CONNECTIONS_MAX, Server
from heflwr.collector.settings import SettingError, add_flags, read_settings
from heflwr.collector.store import Store, StoreFailed, StoreUnavailable, tokens

_EPILOG = """\
commands, besides serving:
  heflwr collector token add NAME         make a token that may write as the identifier NAME
  heflwr collector token add NAME --read  make a token that may read, and log in on the page
  heflwr collector token list | revoke NAME
  heflwr collector compact                merge and forget now what a server does from time to time

Every setting is also a variable (HEFLWR_COLLECTOR_PORT=80) and a line of the TOML file (port = 80).
A flag wins over a variable, a variable over the file. Without any token nobody is asked for one."""


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["token"]:
            return _token(words[1:])
        if words[:1] == ["compact"]:
            return _compact(words[1:])
        return _serve(words)
    except (StoreUnavailable, StoreFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _serve(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="heflwr collector",
        description="Take what monitors send, keep it, show it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser)
    settings = _settings(parser, words)
    tls = _tls(parser, settings)
    proxy = _proxy(parser, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    make_room(CONNECTIONS_MAX)
    with _store(settings) as store:
        with store.reading() as reader:
            is_guarded = settings["token"] is not None or bool(tokens.tokens(reader))
        if not is_guarded and settings["host"] not in LOOPBACK:
            print(f"warning: anyone who reaches {settings['host']} can read and write; set a token", file=sys.stderr)
        app = create_app(
            store,
            token=settings["token"],
            rate=settings["rate"],
            listeners=settings["listeners"],
            lost_seconds=settings["lost_seconds"],
            is_local=settings["host"] in LOOPBACK,
        )
        try:
            server = Server(
                app,
                door=app.extensions["heflwr.collector.gate"].begin,
                host=settings["host"],
                port=settings["port"],
                tls=tls,
                streams=settings["listeners"],
                proxy=proxy,
                refused=app.extensions["heflwr.collector.refused"],
            )
        except (OSError, ValueError) as error:  # ValueError: no such host, says waitress
            where = f"{settings['host']}:{settings['port']}"
            print(f"error: cannot listen on {where}: {error}; choose another --port or --host", file=sys.stderr)
            return 1
        for host, port in server.listening:
            shown = f"[{host}]" if ":" in host else host
            scheme = "http" if tls is None else "https"
            print(f"heflwr collector on {scheme}://{shown}:{port} (database {store.place})", flush=True)
        fleet: Fleet = app.extensions["heflwr.collector.fleet"]
        ending = threading.Event()
        reading_ahead = threading.Thread(
            target=fleet.remember, args=(time.time(), ending.is_set), name="heflwr-collector-ahead"
        )
        reading_ahead.start()
        try:
            server.run()
        finally:
            ending.set()
            app.extensions["heflwr.collector.events"].close()
            server.finish()
            reading_ahead.join()
    return 0


def _token(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="heflwr collector token", description="Make, list and revoke tokens.")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", required=True)
    adding = actions.add_parser("add", help="make a token and print it, for the only time")
    adding.add_argument("name", metavar="NAME", help="the identifier that it may write; for --read any name")
    adding.add_argument("--read", action="store_true", help="it may read everything, and write nothing")
    revoking = actions.add_parser("revoke", help="make the tokens of a name worthless, within a second")
    revoking.add_argument("name", metavar="NAME", help="as it was added")
    for action in (adding, revoking, actions.add_parser("list", help="who has tokens")):
        add_flags(action, ("database",))
    settings = _settings(parser, words)
    options = parser.parse_args(words)
    name = getattr(options, "name", "")
    if len(name) > IDENTIFIER_LENGTH or (options.action == "add" and not name) or not name.isprintable():
        parser.error(f"NAME must be 1 to {IDENTIFIER_LENGTH} printable characters")
    if options.action != "add" and not _is_there(settings):
        return 1
    with _store(settings) as store:
        if options.action == "add":
            may = "read" if options.read else "write"
            with store.reading() as reader:
                is_known = any((token.name, token.may) == (name, may) for token in tokens.tokens(reader))
            print(store.add_token(name, may))
            if is_known:
                print(f"the token that {name} had is worthless now", file=sys.stderr)
        elif options.action == "revoke":
            if not store.revoke_token(name):
                print(f"error: nobody is called {name!r}; see: heflwr collector token list", file=sys.stderr)
                return 1
        else:
            with store.reading() as reader:
                for token in tokens.tokens(reader):
                    created = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(token.created))
                    print(f"{token.may:5}  {created}  {token.name}")
    return 0


def _compact(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="heflwr collector compact",
        description="Roll up, merge small chunks, forget what is too old, give the space back to the disk.",
    )
    add_flags(parser, ("database", "raw_days", "minute_days", "run_days"))
    settings = _settings(parser, words)
    if not _is_there(settings):
        return 1
    with _store(settings) as store:
        before = store.size_bytes()
        store.compact()
        print(f"{store.place}: {before} bytes before, {store.size_bytes()} after")
    return 0


def _settings(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, Any]:
    try:
        return read_settings(vars(parser.parse_args(words)))
    except SettingError as error:
        parser.error(str(error))


def _is_there(settings: dict[str, Any]) -> bool:
    """Return whether there is a database to look at, and say so where not: a mistyped name makes no new one."""
    if "://" in settings["database"] or Path(settings["database"]).exists():
        return True
    print(f"error: there is no {settings['database']}; name the collector's --database", file=sys.stderr)
    return False


def _store(settings: dict[str, Any]) -> Store:
    return Store(
        settings["database"],
        clients_max=settings["clients"],
        raw_days=settings["raw_days"],
        minute_days=settings["minute_days"],
        run_days=settings["run_days"],
    )


def _tls(parser: argparse.ArgumentParser, settings: dict[str, Any]) -> ssl.SSLContext | None:
    if settings["certfile"] is None:
        if settings["keyfile"] is not None:
            parser.error("--keyfile without --certfile")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings["certfile"], settings["keyfile"], password=lambda: "")
    except (OSError, ValueError) as error:
        files = " and ".join(os.fspath(settings[name]) for name in ("certfile", "keyfile") if settings[name])
        parser.error(f"cannot use {files}: {error}; give the certificate and its key in PEM, without a password")
    return context


def _proxy(parser: argparse.ArgumentParser, settings: dict[str, Any]) -> str | None:
    """Return the proxy's address as the server spells those of its clients."""
    given = settings["proxy"]
    try:
        return None if given is None else str(ipaddress.ip_address(given))
    except ValueError:
        parser.error(f"--proxy must be one address such as 127.0.0.1, got {given!r}")


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
