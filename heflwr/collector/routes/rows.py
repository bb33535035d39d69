"""What is stored, as it is: samples, log lines, clients, runs, windows, functions."""

from __future__ import annotations

from typing import Any

from flask import Flask

from heflwr.collector import arguments
from heflwr.collector.store import Store, functions, reading, windows
from heflwr.collector.store.reading import RunRow


def add(app: Flask, store: Store) -> None:
    """Mount the endpoints."""

    def samples() -> dict[str, Any]:
        arguments.only("identifier", "run", "since", "until", "metric", "limit")
        since, until = arguments.since_until()
        found, is_cut = store.samples(
            identifier=arguments.text("identifier"),
            run=arguments.text("run"),
            since=since,
            until=until,
            metrics=arguments.texts("metric"),
            limit=arguments.limit(),
        )
        return {"samples": found, "truncated": is_cut}

    def logs() -> dict[str, Any]:
        arguments.only("identifier", "since", "until", "limit")
        since, until = arguments.since_until()
        found, is_cut = store.lines(
            identifier=arguments.text("identifier"), since=since, until=until, limit=arguments.limit()
        )
        return {"lines": found, "truncated": is_cut}

    def clients() -> dict[str, Any]:
        arguments.only("limit")
        with store.reading() as reader:
            return _cut("clients", reading.clients(reader, arguments.limit() + 1))

    def runs() -> dict[str, Any]:
        arguments.only("identifier", "run", "limit")
        names = arguments.texts("identifier"), arguments.texts("run")
        with store.reading() as reader:
            found = reading.runs(reader, *names, limit=arguments.limit() + 1)
        return _cut("runs", [_run(run) for run in found])

    def all_windows() -> dict[str, Any]:
        arguments.only("identifier", "run", "since", "until", "limit")
        with store.reading() as reader:
            found = windows.windows(
                reader,
                arguments.text("identifier"),
                arguments.text("run"),
                *arguments.since_until(),
                arguments.limit() + 1,
            )
        return _cut("windows", found)

    def all_functions() -> dict[str, Any]:
        arguments.only()
        with store.reading() as reader:
            return {"functions": functions.functions(reader), "truncated": False}

    def points() -> dict[str, Any]:
        arguments.only("identifier", "run", "name", "since", "until", "limit")
        names = [arguments.needed(name) for name in ("identifier", "run", "name")]
        limit = arguments.limit()
        with store.reading() as reader:
            found = functions.points(reader, names[0], names[1], names[2], *arguments.since_until(), limit + 1)
        return {"points": found[:limit][::-1], "truncated": len(found) > limit}

    app.add_url_rule("/api/v1/samples", view_func=samples)
    app.add_url_rule("/api/v1/logs", view_func=logs)
    app.add_url_rule("/api/v1/clients", view_func=clients)
    app.add_url_rule("/api/v1/runs", view_func=runs)
    app.add_url_rule("/api/v1/windows", view_func=all_windows)
    app.add_url_rule("/api/v1/functions", view_func=all_functions)
    app.add_url_rule("/api/v1/functions/points", view_func=points)


def _cut(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    limit = arguments.limit()
    return {name: found[:limit], "truncated": len(found) > limit}


def _run(run: RunRow) -> dict[str, Any]:
    return {
        "identifier": run.identifier,
        "run": run.run,
        "about": run.about,
        "first": run.first,
        "last": run.last,
        "samples": run.samples,
        "interval": run.interval,
        "received": run.received,
    }
