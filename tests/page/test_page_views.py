"""The other views in a real browser: one client, a comparison, monitored functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generated
import servers
from chromium import until

import heflwr
from heflwr.monitor.thread_monitor import RemoteMonitor

Open = Callable[..., Any]


def values(page: Any, chart: str) -> list[str]:
    """Return what stands in the legend of a chart."""
    figure = page.locator(f"figure.chart:has(h2:text-is('{chart}'))")
    figure.wait_for()
    return list(figure.locator(".legend .value").all_inner_texts())


def test_a_client_is_a_click_away_with_charts_windows_and_numbers(fleet: str, opened: Open) -> None:
    """Its charts say what was measured in units that people read, its windows are listed, its run is summed up."""
    page = opened(fleet)
    page.locator(".name:text-is('client-2')").click()
    page.wait_for_selector("h1:has-text('client-2')")
    assert [text.rpartition(" ")[2] for text in values(page, "CPU")] == ["%"]
    assert [text.rpartition(" ")[2] for text in values(page, "Memory")] == ["GiB"]
    assert all(text.endswith("B/s") for text in values(page, "Network"))
    assert [text.rpartition(" ")[2] for text in values(page, "Power")] == ["W"]
    assert "heflwr 0.3.0" in page.locator(".facts").inner_text()
    numbers = page.get_by_role("region", name="The run in numbers")
    assert "Network, sent" in numbers.inner_text()
    assert page.get_by_role("region", name="Windows").get_by_role("button", name="round 2").count() == 1
    assert page.title() == "client-2 · heflwr"
    with page.expect_download() as download:
        page.get_by_role("link", name="Raw samples").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("identifier,run,sequence,time,")
    assert lines[1].startswith("client-2,")


def test_a_window_zooms_and_the_way_back_is_open(fleet: str, opened: Open) -> None:
    """A window's name shows its time alone, fixed; Back shows what was there before."""
    page = opened(f"{fleet}/#/client/client-2?range=6h")
    page.get_by_role("button", name="round 2").click()
    until(page, "/range=[0-9.]+-[0-9.]+/.test(location.hash)")
    page.get_by_role("button", name="Fixed").wait_for()
    page.go_back()
    until(page, "location.hash.endsWith('range=6h')")
    page.get_by_role("button", name="Live. Pause").wait_for()


def test_a_drag_zooms_and_arrow_keys_read_the_points(fleet: str, opened: Open) -> None:
    """The mouse chooses a time by dragging; the keyboard reads value after value, also to a screen reader."""
    page = opened(f"{fleet}/#/client/client-2?range=all")
    values(page, "CPU")
    plot = page.locator("figure.chart .plot").first
    plot.focus()
    page.keyboard.press("Home")
    until(page, "/CPU .*%/.test(document.getElementById('announcer').textContent)")
    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    until(page, "/range=[0-9.]+-[0-9.]+/.test(location.hash)")


def test_another_run_of_a_client_can_be_looked_at(fleet: str, opened: Open) -> None:
    """The run is chosen above, and one whose samples lie outside of the time shown says where they are."""
    page = opened(f"{fleet}/#/client/client-2?range=15m")
    page.get_by_label("Run", exact=True).select_option("earlier")
    page.get_by_text("No samples in this time").wait_for()
    page.get_by_role("button", name="Show the whole run").click()
    assert values(page, "CPU")[0].endswith("%")


def test_nobody_of_that_name_is_said_plainly(fleet: str, opened: Open) -> None:
    """A link to a client that is not there, or to a view that is not, says so and leads back."""
    page = opened(f"{fleet}/#/client/nobody")
    page.get_by_text("No client has this name").wait_for()
    page.goto(f"{fleet}/#/nothing")
    page.get_by_text("There is no such page").wait_for()
    page.get_by_role("link", name="To the fleet").click()
    page.wait_for_selector(".fleet tbody th")


def test_clients_are_picked_and_compared_on_one_axis(fleet: str, opened: Open) -> None:
    """Two picked clients share a chart a metric; one can be taken away, another added by its name."""
    page = opened(fleet)
    for name in ("client-2", "client-3"):
        page.get_by_label(f"Pick {name} for comparison").check()
    page.get_by_role("link", name="Compare 2").click()
    assert len(values(page, "CPU")) == 2
    assert page.locator("figure.chart:has(h2:text-is('CPU')) .legend .name").all_inner_texts() == [
        "client-2",
        "client-3",
    ]
    page.get_by_label("Add a client").fill("client-4")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector("figure.chart:first-child .legend li:nth-child(3)")
    page.get_by_role("button", name="Remove client-3").click()
    page.wait_for_selector("figure.chart:first-child .legend li:nth-child(3)", state="detached")
    assert page.locator("figure.chart:has(h2:text-is('CPU')) .legend .name").all_inner_texts() == [
        "client-2",
        "client-4",
    ]
    page.get_by_label("Add a client").fill("nobody")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("No client has this name.").wait_for()


def test_runs_are_compared_from_their_beginnings(fleet: str, opened: Open) -> None:
    """Two runs of one client, hours apart, lie over each other and are summed up side by side."""
    page = opened(f"{fleet}/#/compare?item=client-2&item=client-2%3Aearlier")
    assert len(values(page, "CPU")) == 2
    assert page.get_by_label("Axis").input_value() == "elapsed"
    lasted = page.locator("tr:has(th:text-is('Lasted')) td").all_inner_texts()
    assert lasted[1] == "20 min"


def test_a_function_is_shown_with_its_band_and_what_backs_it(fleet: str, opened: Open) -> None:
    """Value and truth, the guarantee in words, the messages beside those that telling everything takes."""
    page = opened(f"{fleet}/#/functions")
    page.get_by_role("link", name="CPU imbalance").click()
    page.get_by_text("Guaranteed: by proof").wait_for()
    assert "f is convex on its domain" in page.locator(".guarantee").inner_text()
    assert len(values(page, "Value")) == 2
    sent, centralized = (int(text.replace(",", "")) for text in values(page, "Messages so far"))
    assert 0 < sent < centralized
    assert centralized == 20 * 300
    page.get_by_role("link", name="<b>entropy</b>").click()
    page.get_by_text("Heuristic:").wait_for()


def test_a_hundred_thousand_points_are_drawn_from_a_few_hundred(opened: Open, tmp_path: Path) -> None:
    """More than a day at one sample a second comes as an answer of some kilobytes, and keeps its highest peak."""
    with servers.CollectorProcess(tmp_path / "collector.db") as collector:
        first = time.time() - 100_000
        rows = [[k, first + k, 99.0 if k == 54_321 else 20 + k % 10] for k in range(100_000)]
        sent = [
            {"identifier": "long", "run": "r", "metrics": ["cpu_usage"], "rows": rows[start : start + 10_000]}
            for start in range(0, 100_000, 10_000)
        ]
        generated.post(collector.url, "/simple_log", sent)
        sizes = []
        page = opened(f"{collector.url}/#/")
        page.on("response", lambda answer: "/series?" in answer.url and sizes.append(len(answer.body())))
        page.goto(f"{collector.url}/#/client/long?range=all")
        values(page, "CPU")
        assert 0 < sizes[0] < 100_000
        assert page.locator(".plain tr:has(th:text-is('CPU')) td").nth(2).inner_text() == "99.0 %"


def test_a_real_monitor_is_seen_while_it_runs(opened: Open, tmp_path: Path) -> None:
    """A RemoteMonitor's samples reach the page while it runs, with what it tells of its machine."""
    with (
        servers.CollectorProcess(tmp_path / "collector.db") as collector,
        RemoteMonitor(collector.url, interval=0.1, identifier="laptop", simple=False),
    ):
        page = opened(f"{collector.url}/#/?range=5m")
        page.locator(".name:text-is('laptop')").click()
        assert values(page, "CPU")[0].endswith("%")
        page.get_by_text("live, last seen").wait_for()
        assert f"heflwr {heflwr.__version__}" in page.locator(".facts").inner_text()
