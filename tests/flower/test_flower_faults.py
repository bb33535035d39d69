"""Never in the way: whatever fails in heflwr, the run ends with the same bits, and the history tells what failed."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clouds_app import Learned, client, server
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from local_grid import LocalGrid, run_app
from waiting import burn, wait_for

from heflwr.flower import History, MonitoredGrid, MonitoredServer, MonitorMod, monitored, records
from heflwr.flower.client import measure, procfs
from heflwr.flower.records import RECORD
from heflwr.monitor import Monitor, MonitorError
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.remote import RemoteSink


@pytest.fixture(scope="module")
def plain() -> Learned:
    """What the app learns without heflwr."""
    learned = Learned()
    run_app(server(learned), client())
    return learned


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's failures taught this process is forgotten."""
    monkeypatch.setattr(measure, "_process", measure._Process())


def fail(*args: Any, **kwargs: Any) -> Any:
    raise ZeroDivisionError("on purpose")


CLIENT_PARTS: dict[str, tuple[Any, str, str]] = {
    "the node's name": (measure.Node, "of", "node"),
    "counters": (procfs, "counters", "counters"),
    "memory": (procfs, "resident_bytes", "memory"),
    "peak": (measure, "high_water", "memory"),
    "start-up": (procfs, "age_seconds", "previous call"),
    "the monitor's start": (Monitor, "start", "samples"),
    "the monitor's numbers": (Monitor, "describe", "samples"),
    "the monitor's stop": (Monitor, "stop", "samples"),
    "sizes": (records, "sizes", "message"),
}


@pytest.mark.parametrize("part", CLIENT_PARTS)
def test_a_part_of_the_client_fails(plain: Learned, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call's other numbers arrive, a note says what failed, and the bits are the same."""
    place, name, told = CLIENT_PARTS[part]
    app, learned = monitored(client()), Learned()
    server_app = monitored(server(learned))
    calls = app.mod

    def client_only(message: Any, context: Any, call_next: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, fail)
            return calls(message, context, call_next)

    app.mod = client_only  # type: ignore[assignment]
    run_app(server_app, app)
    stop_everything(calls)
    assert plain.bits == learned.bits
    noted = [entry for entry in server_app.history.entries if entry.notes]
    assert noted
    assert any(note.startswith(f"{told}: ZeroDivisionError: on purpose") for entry in noted for note in entry.notes)
    assert all(entry.cost["seconds"] > 0 for entry in server_app.history.entries)


def stop_everything(mod: MonitorMod) -> None:
    """End what a stop() that failed on purpose left on."""
    from heflwr.monitor import running

    for monitor in list(running._running):
        monitor.stop()


@pytest.mark.parametrize("name", ["encode", "attach"])
def test_a_report_that_cannot_be_made_costs_the_report(
    plain: Learned, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply goes out as the user's code made it."""
    monkeypatch.setattr(records, name, fail)
    learned = Learned()
    app = monitored(server(learned))
    run_app(app, monitored(client()))
    assert plain.bits == learned.bits
    assert 12 == len(app.history.entries)
    assert all(not entry.cost for entry in app.history.entries)


class BrokenSink:
    """A sink of the monitor that fails where it is told to."""

    flush_seconds = 0.0

    def __init__(self, part: str) -> None:
        self.part = part

    def _act(self, part: str) -> None:
        if part == self.part:
            raise OSError("on purpose")

    def open(self, run: Run) -> None:
        self._act("open")

    def write(self, sample: Sample) -> None:
        self._act("write")

    def close(self) -> None:
        self._act("close")

    def facts(self) -> dict[str, Any]:
        self._act("facts")
        return {"sink": "broken"}


@pytest.mark.parametrize("part", ["open", "write", "close", "facts", "made", "copied"])
def test_a_sink_of_the_client_fails(plain: Learned, part: str) -> None:
    """Opening, writing, closing, asking, making or copying it: the cost is measured all the same."""
    sinks: Any = [BrokenSink(part)]
    if part == "made":
        sinks = fail
    elif part == "copied":
        sinks[0].lock = threading.Lock()  # cannot be copied
    learned = Learned()
    app = monitored(server(learned))
    run_app(app, monitored(client(), sinks=sinks))
    assert plain.bits == learned.bits
    assert all(entry.cost["cpu_seconds"] > 0 for entry in app.history.entries)
    if part not in ("close", "facts"):  # nobody asks a user's sink for its facts; it closes behind the reply's back
        assert all(any("sinks: " in note for note in entry.notes) for entry in app.history.entries)


def test_a_file_that_cannot_be_written_is_noted(plain: Learned, tmp_path: Path) -> None:
    """The reason and the path are in the history; the calls are measured without the sink."""
    learned = Learned()
    app = monitored(server(learned))
    run_app(app, monitored(client(), sinks=[FileSink(tmp_path / "no" / "such" / "folder.log")]))
    assert plain.bits == learned.bits
    for entry in app.history.entries:
        assert entry.cost["cpu_seconds"] > 0
        assert any("cannot write" in note for note in entry.notes)


def ask(app: ClientApp, times: int = 1, nodes: int = 3) -> MonitoredGrid:
    """Send queries to an app that answers at once; return the grid, closed."""

    @app.query()
    def query(message: Message, context: Any) -> Message:
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    with MonitoredGrid(LocalGrid(app, nodes)) as grid:
        for _ in range(times):
            grid.send_and_receive([Message(RecordDict(), node, "query") for node in grid.get_node_ids()])
    return grid


class HangingSink(BrokenSink):
    """A sink on a network file system that is gone: what it is told to do takes until the test lets it go."""

    free = threading.Event()

    def __deepcopy__(self, memo: Any) -> HangingSink:
        return HangingSink(self.part)

    def _act(self, part: str) -> None:
        if part == self.part:
            self.free.wait(20)


@pytest.mark.parametrize("part", ["open", "write", "close"])
def test_a_sink_that_hangs_holds_no_call_back(part: str) -> None:
    """Nine calls go by in less time than the sink hangs, each with its cost and, once it is known, a note."""
    HangingSink.free.clear()
    try:
        before = time.monotonic()
        grid = ask(monitored(ClientApp(), sinks=[HangingSink(part)]), times=3)
        took = time.monotonic() - before
    finally:
        HangingSink.free.set()
    assert took < 5
    assert all(entry.cost["cpu_seconds"] > 0 for entry in grid.history.entries)
    assert any("a sink is slow" in note for note in grid.history.entries[-1].notes)


def test_a_good_sink_beside_a_bad_one_gets_its_samples(tmp_path: Path) -> None:
    """Each sink by itself: a folder that is not there costs the file in another one nothing."""
    good = FileSink(tmp_path / "good.jsonl", format="jsonl")
    bad = FileSink(tmp_path / "no" / "folder" / "bad.jsonl", format="jsonl")
    grid = ask(monitored(ClientApp(), sinks=[bad, good]))
    assert all(any("cannot write" in note for note in entry.notes) for entry in grid.history.entries)
    wait_for(lambda: (tmp_path / "good.jsonl").read_text().count('"sequence"') >= 3)


def test_a_silent_collector_costs_a_thread_not_one_a_call() -> None:
    """A collector that takes connections and says nothing: dozens of calls leave a handful of threads behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = RemoteSink(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2, flush_seconds=0.05)
        threads = threading.active_count()
        ask(monitored(ClientApp(), sinks=[sink]), times=12)
        assert threading.active_count() <= threads + 4
        wait_for(lambda: measure._process.relay.is_idle, 60)  # and none that would speak into other tests


def test_a_reading_that_fails_within_a_call_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group, how often, and why; the other groups are measured."""
    from heflwr.monitor.probes.cpu import CpuProbe

    monkeypatch.setattr(CpuProbe, "read", fail)
    grid = ask(monitored(ClientApp()))
    for entry in grid.history.entries:
        assert any(note.startswith("cpu: failed") and "on purpose" in note for note in entry.notes)
        assert entry.cost["memory_peak_bytes"] > 0
        assert "cpu_seconds" not in entry.cost


def test_a_metric_that_the_machine_lacks_is_left_out(plain: Learned, tmp_path: Path) -> None:
    """Energy on a machine without a source: a note, and every other number."""
    learned = Learned()
    app = monitored(server(learned))
    try:
        monitor = Monitor(runner="thread")
        monitor.set_metrics(energy=True)
        with monitor:
            pytest.skip("this machine measures energy")
    except MonitorError:
        pass
    run_app(app, monitored(client(), metrics=("cpu", "energy", "disk", "gpu")))
    assert plain.bits == learned.bits
    for entry in app.history.entries:
        assert "energy_joules" not in entry.cost
        assert "disk_bytes_written" in entry.cost
        reasons = [note for note in entry.notes if note.startswith(("energy: ", "gpu: "))]
        assert (
            "energy: this machine has no energy source that can be read." in reasons
        )  # and not all that was looked for
        assert all(reason.count("energy") != 1 for reason in reasons)  # a GPU that is not there has a reason of its own


def test_an_app_that_raises_raises_as_before() -> None:
    """The user's exception goes its way untouched; nothing of ours is left running; the history has an error."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Any) -> Message:
        raise LookupError("the user's own")

    threads = threading.active_count()
    watched = monitored(app)
    grid = MonitoredGrid(LocalGrid(watched))
    before = threading.active_count()
    with pytest.raises(LookupError, match="the user's own"):
        watched(Message(RecordDict(), 100, "query"), LocalGrid(app).contexts[100])
    grid.send_and_receive([Message(RecordDict(), 101, "query")])
    assert before == threading.active_count()
    grid.close()
    (entry,) = grid.history.entries
    assert ("error", "LookupError: the user's own") == (entry.status, entry.error)
    assert threads == threading.active_count()


def spoiled(change: Callable[[ConfigRecord], Any]) -> Callable[[Message], Message]:
    def spoil(reply: Message) -> Message:
        record = reply.content[RECORD]
        reply.content[RECORD] = change(record)
        return reply

    return spoil


def about(**changes: Any) -> Callable[[ConfigRecord], ConfigRecord]:
    def change(record: ConfigRecord) -> ConfigRecord:
        told = json.loads(str(record["about"])) | changes
        return ConfigRecord({**record, "about": json.dumps({k: v for k, v in told.items() if v != "gone"})})

    return change


MALFORMED: dict[str, Callable[[ConfigRecord], Any]] = {
    "another format": lambda record: ConfigRecord({**record, "format": 2}),
    "no format": lambda record: ConfigRecord({"values": [1.0]}),
    "empty": lambda record: ConfigRecord(),
    "values a text": lambda record: ConfigRecord({**record, "values": "1"}),
    "values texts": lambda record: ConfigRecord({**record, "values": ["a", "b"]}),
    "values infinite": lambda record: ConfigRecord({**record, "values": [float("inf")] * 40}),
    "values bools": lambda record: ConfigRecord({**record, "values": [True] * 40}),
    "no text": lambda record: ConfigRecord({"format": 1, "values": [1.0]}),
    "text no JSON": lambda record: ConfigRecord({**record, "about": "{"}),
    "text deep": lambda record: ConfigRecord({**record, "about": "[" * 2000}),
    "text long": lambda record: ConfigRecord({**record, "about": " " * 100_000}),
    "text a list": lambda record: ConfigRecord({**record, "about": "[]"}),
    "host a number": about(host=3),
    "host gone": about(host="gone"),
    "pid a text": about(pid="x"),
    "pid huge": about(pid=1e308),
    "started NaN": about(started=float("nan")),
    "sources a list": about(sources=[1]),
    "notes an object": about(notes={"a": 1}),
    "notes numbers": about(notes=[1]),
    "an array": lambda record: ArrayRecord(),
    "a metric": lambda record: MetricRecord({"format": 1}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_report_is_taken_off_and_told(plain: Learned, name: str) -> None:
    """Whatever a client puts under our name never reaches the strategy, and never stops the run."""
    learned = Learned()
    app = monitored(server(learned))
    grid = LocalGrid(monitored(client()))
    grid.spoil = spoiled(MALFORMED[name])
    app(grid, context())
    assert plain.bits == learned.bits
    assert plain.metrics == learned.metrics
    if name not in ("notes an object", "pid huge"):
        assert all(not entry.cost for entry in app.history.entries)
        assert all(entry.notes[0].startswith("report: ") for entry in app.history.entries)
        assert 12 == app.history.faults["report"]


def test_a_longer_report_of_a_newer_heflwr_is_read() -> None:
    """Columns that this version does not know are left; those that it knows are read."""
    app = monitored(server(Learned()))
    grid = LocalGrid(monitored(client()))
    grid.spoil = spoiled(lambda record: ConfigRecord({**record, "values": [*record["values"], 7.0, 8.0]}))  # type: ignore[misc]
    app(grid, context())
    assert all(entry.cost["seconds"] > 0 for entry in app.history.entries)
    assert {} == app.history.faults


SERVER_PARTS: dict[str, tuple[Any, str]] = {
    "adding": (History, "add"),
    "decoding": (records, "decode"),
    "weighing": (records, "sizes"),
    "its own monitor's start": (Monitor, "start"),
    "its own monitor's numbers": (Monitor, "describe"),
}


@pytest.mark.parametrize("part", SERVER_PARTS)
def test_a_part_of_the_server_fails(plain: Learned, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on to the same bits; the failures are counted."""
    monkeypatch.setattr(*SERVER_PARTS[part], fail)
    learned = Learned()
    app = monitored(server(learned))
    run_app(app, client() if part != "decoding" else monitored(client()))
    assert plain.bits == learned.bits
    assert sum(app.history.faults.values()) > 0
    assert "on purpose" in app.history.last_fault


class BrokenHistorySink:
    def __init__(self, part: str) -> None:
        self.part = part

    def open(self, history: History) -> None:
        if self.part == "open":
            raise OSError("on purpose")

    def sent(self, kind: str, round: int, nodes: int) -> None:
        if self.part == "sent":
            raise OSError("on purpose")

    def entry(self, entry: Any) -> None:
        if self.part == "entry":
            raise OSError("on purpose")

    def close(self) -> None:
        if self.part == "close":
            raise OSError("on purpose")


@pytest.mark.parametrize("part", ["sent", "entry", "close"])
def test_a_sink_of_the_server_fails(plain: Learned, part: str) -> None:
    """Counted under its name; the run goes on."""
    learned = Learned()
    app = monitored(server(learned), sinks=[BrokenHistorySink(part)])
    run_app(app, monitored(client()))
    assert plain.bits == learned.bits
    assert {"BrokenHistorySink": {"sent": 4, "entry": 12, "close": 1}[part]} == app.history.faults
    assert all(entry.cost for entry in app.history.entries)


def test_a_sink_of_the_server_that_cannot_open_is_told_before_anything_is_sent() -> None:
    """A file that cannot be written is the user's to know at once, not after a night of training."""
    app = monitored(server(Learned()), sinks=[BrokenHistorySink("open")])
    grid = LocalGrid(monitored(client()))
    with pytest.raises(OSError, match="on purpose"):
        app(grid, context())
    assert [] == grid.replies


def test_a_reply_that_never_comes_is_lost() -> None:
    """A lost reply is an entry without an end, and the strategy sees what it would have seen."""
    app = MonitoredServer(server(Learned()))
    grid = LocalGrid(monitored(client()), nodes=4)
    grid.spoil = lambda reply: None if reply.metadata.src_node_id == 103 else reply
    app(grid, context())
    lost = [entry for entry in app.history.entries if entry.status == "lost"]
    assert {103} == {entry.node for entry in lost}
    assert all(entry.received is None and entry.bytes_sent > 0 for entry in lost)


def test_messages_never_pulled_are_lost_when_the_run_ends() -> None:
    """Pushed and forgotten: told at close()."""
    with MonitoredGrid(LocalGrid(monitored(client()))) as grid:
        list(grid.push_messages([Message(RecordDict(), 100, "query")]))
    assert ["lost"] == [entry.status for entry in grid.history.entries]


def test_the_users_random_numbers_stay_the_users(tmp_path: Path) -> None:
    """Measuring draws nothing from the generator that a seeded training depends on."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Any) -> Message:
        burn(0.1)
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    sinks = [FileSink(tmp_path / "a.log"), RemoteSink("127.0.0.1:9", flush_seconds=0.0)]
    grid = MonitoredGrid(LocalGrid(monitored(app, sinks=sinks)))
    random.seed(1)
    expected = random.getstate()
    grid.send_and_receive([Message(RecordDict(), node, "query") for node in grid.get_node_ids()])
    grid.close()
    wait_for(lambda: measure._process.relay.is_idle)
    assert expected == random.getstate()


def context() -> Any:
    from flwr.app import Context

    return Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={})
