"""When things are not well: nobody answers, a token is wanted; and how the page looks after itself: theme, headers."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import generated
import requests
import servers

Open = Callable[..., Any]
TOKEN = "a-token-for-reading"


def test_a_collector_that_goes_and_comes_back_is_noticed(opened: Open, tmp_path: Path) -> None:
    """The page keeps what it has, says that it is old, tries by itself, and goes on when it is there again."""
    database = tmp_path / "collector.db"
    body = {"identifier": "one", "run": "r", "metrics": ["cpu_usage"], "rows": [[0, 1e9, 5.0]]}
    with servers.CollectorProcess(database) as collector:
        port = int(collector.address.rpartition(":")[2])
        generated.post(collector.url, "/log", [body])
        page = opened(collector.url, expected="Failed to load resource")
        page.wait_for_selector(".name:text-is('one')")
    page.get_by_text("No connection to the collector.").wait_for()
    assert page.locator(".name:text-is('one')").is_visible()
    assert page.get_by_role("button", name="Try now").is_visible()
    with servers.CollectorProcess(database, port=port) as collector:
        generated.post(collector.url, "/log", [{**body, "identifier": "two"}])
        page.wait_for_selector(".name:text-is('two')")
        page.get_by_text("No connection to the collector.").wait_for(state="detached")


def test_a_locked_collector_asks_for_its_token_first(opened: Open, tmp_path: Path) -> None:
    """Without a token there is a form, no data; a wrong one is refused in words, the right one opens until log-out."""
    with servers.CollectorProcess(tmp_path / "collector.db", HEFLWR_COLLECTOR_TOKEN=TOKEN) as collector:
        body = {"identifier": "secret-client", "run": "r", "metrics": ["cpu_usage"], "rows": [[0, 1e9, 5.0]]}
        generated.post(collector.url, "/log", [body], TOKEN)
        page = opened(f"{collector.url}/#/?sort=cpu", expected="Failed to load resource")
        page.get_by_label("Read token").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("That token does not open this collector.").wait_for()
        assert "secret-client" not in page.content()
        page.get_by_label("Read token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".name:text-is('secret-client')")
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert TOKEN not in cookie["value"]
        page.reload()
        page.wait_for_selector(".name:text-is('secret-client')")
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Read token").wait_for()
        assert page.context.cookies() == []
        assert "secret-client" not in page.content()


def test_a_page_that_cannot_listen_asks_from_time_to_time(opened: Open, tmp_path: Path) -> None:
    """Where as many pages listen to events as may, one more still shows what is new."""
    with servers.CollectorProcess(tmp_path / "collector.db") as collector, ExitStack() as listeners:
        while True:
            answer = requests.get(f"{collector.url}/api/v1/events", stream=True, timeout=30)
            listeners.callback(answer.close)
            if answer.status_code == 503:
                break
        page = opened(collector.url)
        page.get_by_text("No client has sent anything yet").wait_for()
        for name in ("one", "two"):
            body = {"identifier": name, "run": "r", "metrics": ["cpu_usage"], "rows": [[0, 1e9, 5.0]]}
            generated.post(collector.url, "/log", [body])
            page.wait_for_selector(f".name:text-is('{name}')")


def test_a_viewer_whose_clock_is_wrong_sees_the_same(fleet: str, opened: Open) -> None:
    """The last hour is the collector's last hour, and its clock tells how long ago a client was seen."""
    page = opened(fleet)
    page.add_init_script("const now = Date.now; Date.now = () => now() - 5 * 3600_000")
    page.reload()
    page.wait_for_selector(".fleet tbody th")
    assert page.locator("tr:has(.name:text-is('client-0')) .seen").inner_text() == "2 h ago"
    page.locator(".name:text-is('client-2')").click()
    page.wait_for_selector("figure.chart")


def test_dark_and_light_follow_the_system_until_one_chooses(fleet: str, opened: Open) -> None:
    """The system's preference holds, the switch overrules it and is remembered; charts are painted anew."""
    page = opened(f"{fleet}/#/client/client-2?range=all", color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.wait_for_selector(".chart canvas")
    assert sum(map(int, re.findall(r"\d+", page.evaluate(ground))[:3])) < 150
    page.get_by_role("button", name="Use light colours").click()
    assert sum(map(int, re.findall(r"\d+", page.evaluate(ground))[:3])) > 600
    page.reload()
    page.wait_for_selector(".chart canvas")
    assert sum(map(int, re.findall(r"\d+", page.evaluate(ground))[:3])) > 600


def test_the_page_may_run_nothing_but_its_own_files(fleet: str) -> None:
    """No inline script or style, no other host, no framing: the header says it, and the page's text abides by it."""
    with urllib.request.urlopen(f"{fleet}/") as answer:
        policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", text)


def test_only_files_of_the_page_are_served(fleet: str) -> None:
    """A path that leaves the folder finds nothing."""
    for path in ("../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "views", "nothing.js"):
        assert servers.get(f"{fleet}/static/{path}")[0] == 404


def test_a_file_that_has_not_changed_is_not_sent_again(fleet: str) -> None:
    """The browser asks each time, and hears that it has the newest already."""
    first = requests.get(f"{fleet}/static/main.js", timeout=30)
    again = requests.get(f"{fleet}/static/main.js", headers={"If-None-Match": first.headers["ETag"]}, timeout=30)
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_a_time_is_chosen_by_its_ends(fleet: str, opened: Open) -> None:
    """From … to … refuses an end before its beginning, and what was chosen is in the address and stays."""
    page = opened(f"{fleet}/#/client/client-2")
    page.get_by_label("Time range").select_option("choose")
    page.get_by_label("Beginning").fill("2026-01-02T10:00:00")
    page.get_by_label("End").fill("2026-01-02T09:00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("The end must be later than the beginning.").wait_for()
    page.get_by_label("End").fill("2026-01-02T11:00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("No samples in this time").wait_for()
    assert page.get_by_label("Time range").input_value() == "custom"
    since, until = map(float, page.url.partition("range=")[2].split("-"))
    assert until - since == 3600


def test_a_phone_shows_every_view_without_scrolling_sideways(fleet: str, opened: Open) -> None:
    """At 360 points of width nothing sticks out."""
    page = opened(fleet, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for view, ready in VIEWS.items():
        page.goto(f"{fleet}/#{view}")
        page.wait_for_selector(ready)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view


VIEWS = {
    "/": ".fleet tbody th",
    "/client/client-2?range=all": ".chart canvas",
    "/compare?item=client-2&item=client-3": ".chart canvas",
    "/functions": ".chart canvas",
}
