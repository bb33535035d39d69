"""What is made of the samples: the fleet at a glance, series, aggregates over clients, summaries of runs."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask

from heflwr.collector import arguments
from heflwr.collector.checks import TIME_RANGE
from heflwr.collector.fleet import POINTS, Fleet
from heflwr.collector.records import Refusal
from heflwr.collector.series import FUNCTIONS, RUNS_MAX, aggregate, series, summaries
from heflwr.collector.spans import POINTS_MAX, STEPS, Span, of_step, span
from heflwr.collector.store import Store, reading
from heflwr.collector.store.rolling import Tails

HOUR = 3_600.0
STEP_RANGE = (1e-3, 31_104_000.0)


def add(app: Flask, store: Store, fleet: Fleet, tails: Tails) -> None:
    """Mount the endpoints."""

    def fleet_view() -> dict[str, Any]:
        arguments.only("since", "until", "points", "identifier", "limit")
        since, until = arguments.recent(HOUR)
        points = arguments.whole("points", POINTS, 1, 1_000)
        if since == TIME_RANGE[0]:  # all there is: not mostly the time before it
            with store.reading() as reader:
                since = min(reading.begun(reader) or since, until)
        return fleet.view(
            span(since, until, points, least_step=STEPS[0]),
            arguments.texts("identifier"),
            arguments.whole("limit", arguments.LIMIT_MAX, 1, arguments.LIMIT_MAX),
            time.time(),
        )

    def all_series() -> dict[str, Any]:
        arguments.only("identifier", "run", "metric", "since", "until", "points", "step")
        identifiers, runs = arguments.texts("identifier"), arguments.texts("run")
        if not identifiers and not runs:
            raise Refusal(400, "query", "name at least one identifier or run")
        since, until = arguments.recent(HOUR)
        wanted = _span(since, until, 300)
        with store.reading() as reader:
            found = [run for run in reading.runs(reader, identifiers, runs) if run.last >= since and run.first <= until]
            answer = series(reader, found[:RUNS_MAX], arguments.texts("metric"), wanted, "step" in _given())
        return {**answer, "truncated": len(found) > RUNS_MAX}

    def all_aggregate() -> dict[str, Any]:
        arguments.only("metric", "function", "since", "until", "points", "step")
        metric, function = arguments.needed("metric"), arguments.text("function") or "mean"
        if function not in FUNCTIONS:
            raise Refusal(400, "query", f"function must be one of {', '.join(FUNCTIONS)}, got {function[:40]!r}")
        since, until = arguments.recent(HOUR)
        wanted = _span(since, until, 60, least_step=STEPS[0])
        with store.reading() as reader:
            found = [run for run in reading.runs(reader) if run.last >= wanted.start and run.first <= wanted.end]
            values = aggregate(reader, tails, found, metric, function, wanted)
        return {
            "start": wanted.start,
            "step": wanted.step,
            "metric": metric,
            "function": function,
            "values": values,
            "truncated": False,
        }

    def all_summaries() -> dict[str, Any]:
        arguments.only("identifier", "run", "limit")
        names = arguments.texts("identifier"), arguments.texts("run")
        limit = arguments.whole("limit", 100, 1, 1_000)
        with store.reading() as reader:
            runs = reading.runs(reader, *names, limit=limit + 1)
            found = [summary for run in runs[:limit] for summary in summaries(reader, run)]
        return {"summaries": found, "truncated": len(runs) > limit}

    app.add_url_rule("/api/v1/fleet", view_func=fleet_view)
    app.add_url_rule("/api/v1/series", view_func=all_series)
    app.add_url_rule("/api/v1/aggregate", view_func=all_aggregate)
    app.add_url_rule("/api/v1/summaries", view_func=all_summaries)


def _given() -> set[str]:
    from flask import request

    return set(request.args)


def _span(since: float, until: float, points: int, least_step: float = 0.0) -> Span:
    """Return the span that `points` or `step` ask for."""
    if "step" not in _given():
        return span(since, until, arguments.whole("points", points, 1, POINTS_MAX), least_step)
    if "points" in _given():
        raise Refusal(400, "query", "give points or step, not both")
    step = arguments.number("step", 0.0, *STEP_RANGE)
    if step < least_step:
        raise Refusal(400, "query", f"step must be at least {least_step:.0f} seconds here, got {step}")
    if step >= STEPS[0] and step % STEPS[0]:
        raise Refusal(400, "query", f"a step of a minute or more must be whole minutes, got {step}")
    return of_step(since, until, step)
