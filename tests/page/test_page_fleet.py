"""The fleet's table in a real browser: sorting, filtering, live updates, a thousand clients, hostile names."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generated
import servers
from chromium import until
from generated import HOSTILE

Open = Callable[..., Any]


def names(page: Any) -> list[str]:
    """Return the clients in the order of the table, as far as its rows are drawn."""
    return list(page.locator(".fleet tbody .who a").all_inner_texts())


def test_the_fleet_is_shown_with_counts_totals_and_sparklines(fleet: str, opened: Open) -> None:
    """Whoever opens the collector sees how many clients live, what they use together, and a row with lines for each."""
    page = opened(fleet)
    page.wait_for_selector(".fleet tbody th")
    assert 7 + len(HOSTILE) == len(names(page))
    counts = {
        word: int(page.locator(f".tile.clients button:has-text('{word}') .number").inner_text()) for word in WORDS
    }
    assert 7 + len(HOSTILE) == sum(counts.values())
    assert counts["lost"] == 1
    assert page.locator(".tile:has-text('CPU') .value").inner_text().endswith("%")
    row = page.locator("tr:has(.name:text-is('client-2'))")
    assert "orin-00.lab.example" in row.inner_text()
    assert row.locator(".spark-line").count() == 4
    assert all(len(path.get_attribute("d")) > 20 for path in row.locator(".spark-line").all()[:2])


WORDS = ("live", "stale", "lost")


def test_the_table_is_sorted_by_any_column_and_the_address_remembers(fleet: str, opened: Open) -> None:
    """A press on a header sorts by it, another turns the order around; the link opens the same order elsewhere."""
    page = opened(fleet)
    page.get_by_role("button", name="Memory").click()
    page.wait_for_selector("th[aria-sort=descending]:has-text('Memory')")
    found = [
        float(text.split()[0]) for text in page.locator("tr td:nth-child(4) .number").all_inner_texts() if "%" in text
    ]
    assert sorted(found, reverse=True) == found
    assert len(found) == 7
    page.get_by_role("button", name="Memory").click()
    page.wait_for_selector("th[aria-sort=ascending]:has-text('Memory')")
    order = names(page)
    assert order == names(after(opened(page.url)))


def after(page: Any) -> Any:
    page.wait_for_selector(".fleet tbody th")
    return page


def test_the_table_is_filtered_by_words_and_by_health(fleet: str, opened: Open) -> None:
    """A filter leaves those whose name or host has all its words; with nobody left the page says so, and lets go."""
    page = after(opened(fleet))
    page.get_by_label("Filter clients").fill("client orin-01")
    until(page, "document.querySelectorAll('.fleet tbody th').length === 3")
    assert names(page) == ["client-4", "client-5", "client-6"]
    assert "3 clients of 12" in page.locator(".found").inner_text()
    page.get_by_role("button", name="lost").click()
    page.get_by_text("No client is like that").wait_for()
    page.get_by_role("button", name="Show every client").click()
    until(page, "document.querySelectorAll('.fleet tbody th').length === 12")
    page.get_by_role("button", name="lost").click()
    until(page, "document.querySelectorAll('.fleet tbody th').length === 1")
    assert names(page) == ["client-0"]


def test_names_that_clients_choose_stay_text(fleet: str, opened: Open) -> None:
    """Markup, formulas, turned writing and endless names are shown as they are, run nothing and break no layout."""
    page = after(opened(fleet))
    page.on("dialog", lambda dialog: (_ for _ in ()).throw(AssertionError("a script ran")))
    assert set(HOSTILE) <= set(page.locator(".fleet tbody .who a").all_text_contents())
    assert page.locator(".fleet script, .fleet img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in HOSTILE[2:4]:  # a formula and an endless one, all the way to their own view
        page.locator(".fleet tbody .who a", has_text=name).first.click()
        page.wait_for_selector(".chart")
        assert page.locator("h1").text_content() == name
        page.wait_for_selector("figure.chart h2:text-is('constructor')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.go_back()
        page.wait_for_selector(".fleet tbody th")


def test_everything_is_more_than_the_last_hour(fleet: str, opened: Open) -> None:
    """A client that fell silent two hours ago has its lines in "Everything", and none in the last hour."""
    lines = {}
    page = opened("about:blank")
    for range in ("1h", "all"):
        with page.expect_response(lambda answer: "/fleet?" in answer.url) as asked:
            page.goto(f"{fleet}/?{range}#/?range={range}")
        clients = {client["identifier"]: client for client in asked.value.json()["clients"]}
        lines[range] = clients["client-0"]["spark"].get("cpu_usage", [])
    assert lines["1h"] == []
    assert sum(value is not None for value in lines["all"]) > 5


def test_what_is_shown_can_be_taken_along_as_csv(fleet: str, opened: Open) -> None:
    """The file has the filtered rows in their order, and no cell that a spreadsheet takes for a formula."""
    page = after(opened(f"{fleet}/#/?sort=client&order=down"))
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 12
    assert [row["identifier"] for row in rows if row["identifier"].startswith("client")] == [
        f"client-{place}" for place in range(6, -1, -1)
    ]
    assert not any(row["identifier"].startswith("=") for row in rows)
    assert float(next(row for row in rows if row["identifier"] == "client-2")["memory_percent"]) > 10


def test_the_keyboard_goes_through_the_rows(fleet: str, opened: Open) -> None:
    """Arrows, Home and End move from client to client, and Enter opens the one in focus."""
    page = after(opened(f"{fleet}/#/?filter=client"))
    until(page, "document.querySelectorAll('.fleet tbody th').length === 7")
    page.locator(".fleet tbody .who a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "client-2"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == "client-6"
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('client-6')")


def test_new_samples_appear_by_themselves_unless_paused(opened: Open, tmp_path: Path) -> None:
    """A client that starts to send shows up without a reload; a paused page stays as it is until it goes on."""
    with servers.CollectorProcess(tmp_path / "collector.db") as collector:
        page = opened(collector.url)
        page.get_by_text("No client has sent anything yet").wait_for()
        generated.post(collector.url, "/log", [sample("first")])
        page.wait_for_selector(".name:text-is('first')")
        page.get_by_role("button", name="Live. Pause").click()
        generated.post(collector.url, "/log", [sample("second")])
        page.wait_for_timeout(2500)
        assert names(page) == ["first"]
        page.get_by_role("button", name="Paused. Go on").click()
        page.wait_for_selector(".name:text-is('second')")


def sample(name: str) -> dict[str, Any]:
    return {"identifier": name, "run": "r", "metrics": ["cpu_usage"], "rows": [[0, time.time(), 12.5]]}


def test_a_thousand_clients_stay_light(opened: Open, tmp_path: Path) -> None:
    """Of a thousand rows only those in the window are in the document, and the last is a key press away."""
    now = time.time()
    with servers.CollectorProcess(tmp_path / "collector.db") as collector:
        lines = "\n".join(
            f"heflwr,identifier=node-{place:04} cpu_usage={place % 97},memory_usage={place % 90} {now - 60 * k:.0f}"
            for place in range(1000)
            for k in range(5)
        )
        assert servers.post(f"{collector.url}/write?precision=s", lines.encode(), "text/plain")[0] == 204
        page = after(opened(collector.url))
        assert "1,000 clients" in page.locator(".found").inner_text()
        assert page.locator(".fleet tbody tr").count() < 60
        assert page.locator(".fleet").get_attribute("aria-rowcount") == "1001"
        page.locator(".fleet tbody .who a").first.focus()
        page.keyboard.press("End")
        page.wait_for_selector(".name:text-is('node-0999')")
        assert page.evaluate("document.activeElement.textContent") == "node-0999"
        page.get_by_label("Filter clients").fill("node-0500")
        until(page, "document.querySelectorAll('.fleet tbody th').length === 1")
        assert names(page) == ["node-0500"]
