"""A browser for the session, and a collector with a small fleet: twelve clients, their rounds, a function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import chromium
import generated
import pytest
import servers
from programs import need


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium.launched() as browser:
        yield browser


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a fresh profile; whatever its console complains of fails the test, but what is `expected`."""
    kept: list[tuple[Any, chromium.Complaints, str]] = []

    def open_page(address: str, *, expected: str = "\0", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(chromium.PATIENCE_MS)
        page = context.new_page()
        kept.append((context, chromium.Complaints(page), expected))
        page.goto(address)
        return page

    yield open_page
    complaints = [text for _, complaint, expected in kept for text in complaint.found if expected not in text]
    for context, _, _ in kept:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a collector with seven clients that train, others that mean no good, and two functions."""
    need("chromium")  # first: without it nothing needs to be started
    now = time.time()
    database = tmp_path_factory.mktemp("fleet") / "fleet.db"
    with servers.CollectorProcess(database) as collector:
        fill(collector.url, now)
        # the first was lost two hours ago, the second is stale, the others live for as long as the tests take
        generated.heard(database, now + 3600)
        generated.heard(database, now - 7200, "client-0")
        generated.heard(database, now - 120, "client-1")
        yield collector.url


def fill(url: str, now: float) -> None:
    for place in range(7):
        last = {0: now - 7200, 1: now - 120}.get(place, now)
        sent = generated.bodies(f"client-{place}", place, last - 1800, last, 5, has_power=place % 2 == 0)
        generated.post(url, "/log", sent)
    earlier = generated.bodies("client-2", 2, now - 9000, now - 7800, 5, run="earlier")
    generated.post(url, "/log", earlier)
    for place, name in enumerate(generated.HOSTILE):
        # a metric and a unit that every object of JavaScript has already
        body = {
            "identifier": name,
            "run": "a",
            "metrics": ["cpu_usage", "constructor"],
            "units": {"constructor": "valueOf"},
        }
        body |= {"rows": [[0, now, 1.0 + place, 7]]}
        body |= {"host": "<img src=x onerror=alert(1)>"}
        generated.post(url, "/log", [body])
    functions = [
        generated.function("CPU imbalance", "guaranteed", "f is convex on its domain", now - 3000, now),
        generated.function("<b>entropy</b>", "heuristic", "the curvature was searched for", now - 3000, now, unit=""),
    ]
    generated.post(url, "/api/v1/functions", functions)
