"""The server's side on bad days: dropped grids, lost messages, hostile reports, sinks that fail a node at a time."""

from __future__ import annotations

import gc
import json
import math
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from local_grid import LocalGrid, take_identity
from waiting import burn, wait_for

from heflwr.flower import Console, Entry, Gauges, History, HistoryFile, MonitoredGrid, MonitoredServer, monitored
from heflwr.flower.cost import NAMES, Report
from heflwr.flower.records import NOTES, RECORD, MalformedReport, decode, encode
from heflwr.flower.server.messages import METRICS_MOST
from heflwr.flower.server.per_node import NODES_MOST, PerNode
from heflwr.flower.server.progress import WAITING_MOST, Progress
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.prometheus import PrometheusSink
from heflwr.monitor.sinks.remote import RemoteSink

HERE = Path(__file__).parent


def answering(answer: Callable[[Message], RecordDict] = lambda message: RecordDict()) -> ClientApp:
    """Return a ClientApp whose queries are answered with what `answer` returns."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(answer(message), reply_to=message)

    return app


def telling(report: Report) -> ClientApp:
    return answering(lambda message: RecordDict({RECORD: encode(report)}))


def ask(grid: Grid, *rounds: int) -> list[Message]:
    """Send node 100 a query a round, all together; return them as they went out."""
    contents = [RecordDict({"config": ConfigRecord({"server-round": number})}) for number in rounds]
    messages = [Message(content, 100, "query") for content in contents]
    grid.send_and_receive(messages)
    return messages


# a monitor's sink, a node


class Recording:
    """A sink of a monitor that tells what became of it, and may be told to fail."""

    opened: ClassVar[list[str]] = []
    samples: ClassVar[list[int]] = []
    closed: ClassVar[list[str]] = []
    at_close: ClassVar[Callable[[str], object]] = staticmethod(lambda name: None)

    flush_seconds = 0.0

    def open(self, run: Run) -> None:
        self.name = run.identifier
        self.opened.append(self.name)

    def write(self, sample: Sample) -> None:
        self.samples.append(sample.sequence)

    def close(self) -> None:
        type(self).at_close(self.name)
        self.closed.append(self.name)

    def facts(self) -> dict[str, Any]:
        return {"sink": "recording"}


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> type[Recording]:
    for name in ("opened", "samples", "closed"):
        monkeypatch.setattr(Recording, name, [])
    return Recording


def reply_of(node: int, **cost: float) -> Entry:
    return Entry(node, str(node), 1, "query", 0.0, 1.0, cost=cost or {"seconds": 1.0})


def feed(sink: PerNode, nodes: int) -> History:
    history = History()
    sink.open(history)
    for node in range(nodes):
        sink.entry(reply_of(node))
    return history


def test_the_sinks_of_all_nodes_close_at_once(recording: type[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until all others are closing, too: one after the other would never end."""
    together = threading.Barrier(8)
    monkeypatch.setattr(recording, "at_close", lambda name: together.wait(10.0))
    monkeypatch.setattr(recording, "flush_seconds", 20.0)
    sink = PerNode(recording())
    history = feed(sink, 8)
    sink.close()
    assert 8 == len(recording.closed)
    assert {} == history.faults


def test_sinks_that_never_close_share_one_deadline(recording: type[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends all the same, and the faults tell how many were left behind; the others are closed."""
    released = threading.Event()
    monkeypatch.setattr(recording, "at_close", lambda name: name == "node 0" or released.wait(60.0))
    sink = PerNode(recording())
    history = feed(sink, 5)
    begun = time.monotonic()
    sink.close()
    took = time.monotonic() - begun
    released.set()
    assert took < 30.0
    assert "node 0" == recording.closed[0]
    assert "PerNode: 4 of 5 sinks were not closed within 1 s" == history.last_fault
    wait_for(lambda: 5 == len(recording.closed))


def test_a_close_that_fails_leaves_no_other_sink_open(
    recording: type[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every node's is closed, every failure is counted."""

    def fail(name: str) -> None:
        if name in ("node 0", "node 2"):
            raise OSError("on purpose")

    monkeypatch.setattr(recording, "at_close", fail)
    sink = PerNode(recording())
    history = feed(sink, 4)
    sink.close()
    assert ["node 1", "node 3"] == sorted(recording.closed)
    assert {"PerNode": 2} == history.faults


def test_a_sink_that_cannot_open_is_tried_once_a_node(
    recording: type[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again at each reply; every node is counted, and the run goes on."""

    def fail(self: Recording, run: Run) -> None:
        self.opened.append(run.identifier)
        raise OSError("on purpose")

    monkeypatch.setattr(recording, "open", fail)
    with MonitoredGrid(LocalGrid(telling(Report({"seconds": 1.0}))), sinks=[recording()]) as grid:
        for _ in range(3):
            for node in grid.get_node_ids():
                grid.send_and_receive([Message(RecordDict(), node, "query")])
    assert ["node 100", "node 101", "node 102"] == recording.opened
    assert {"PerNode": 3} == grid.history.faults


def test_there_is_an_end_to_the_nodes_with_a_sink(recording: type[Recording]) -> None:
    """Those beyond are told of once each, and left out; nothing is opened for them."""
    sink = PerNode(recording())
    feed(sink, NODES_MOST)
    with pytest.raises(ValueError, match=f"node 9999 is left out: {NODES_MOST} nodes have a Recording already"):
        sink.entry(reply_of(9999))
    sink.entry(reply_of(9999))
    sink.entry(reply_of(0))
    sink.close()
    assert NODES_MOST == len(recording.opened) == len(recording.closed)
    assert NODES_MOST + 1 == len(recording.samples)


def test_replies_from_several_threads_open_one_sink(
    recording: type[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads with a node's first replies: one run, its samples in order; after close() there is no other."""
    plain_open = Recording.open

    def slow(self: Recording, run: Run) -> None:
        time.sleep(0.05)  # the others come meanwhile
        plain_open(self, run)

    monkeypatch.setattr(recording, "open", slow)
    sink = PerNode(recording())
    feed(sink, 0)
    threads = [threading.Thread(target=sink.entry, args=(reply_of(1),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    sink.entry(reply_of(1))
    assert ["node 1"] == recording.opened == recording.closed
    assert [0, 1, 2, 3] == recording.samples


def test_a_prometheus_sink_is_refused_at_the_door() -> None:
    """Every node would need a port; the text names what serves all of them."""
    for wrap in (lambda sinks: monitored(ServerApp(), sinks=sinks), lambda sinks: MonitoredGrid(None, sinks=sinks)):
        with pytest.raises(TypeError, match=r"sinks\[1\] is a PrometheusSink.*Gauges"):
            wrap([Gauges(0), PrometheusSink(0)])


def test_a_silent_collector_costs_its_time_once() -> None:
    """A dozen nodes' senders are given up together, not one after the other."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        sink = PerNode(RemoteSink(f"127.0.0.1:{silent.getsockname()[1]}", flush_seconds=1.0, timeout=5.0))
        history = feed(sink, 12)
        begun = time.monotonic()
        sink.close()
        assert time.monotonic() - begun < 8.0  # a second each would be 12
    assert {} == history.faults
    wait_for(lambda: not any(thread.name == "heflwr-remote-sender" for thread in threading.enumerate()))


# reports


FULL = dict.fromkeys(NAMES, 123456.789)


def decoded(**changes: Any) -> Report:
    """Return what a server reads where a client's text says something else."""
    record = encode(Report(FULL, started=1.7e9, host="h", name="n"))
    return decode(ConfigRecord({**record, "about": json.dumps(json.loads(str(record["about"])) | changes)}))


def test_our_own_report_is_read_and_small_whatever_it_says() -> None:
    """Four long notes and four long sources in Japanese, a long host, quotes: under 1 KiB as it is sent, and valid."""
    groups = ("network", "power", "energy", "gpu")
    for text in ("開けません" * 60, '"\\' * 90, "x" * 1000, "\ud800\x00\n" * 99, "🙂" * 99):
        report = Report(
            FULL,
            started=1.7e9 + 0.123456,
            host=text,
            name=text,
            pid=4194304,
            sources=dict.fromkeys(groups, text),
            notes=(text,) * 9,
        )
        record = encode(report)
        assert len(record.deflate()) < 1024
        read = decode(record)
        assert FULL == read.cost
        assert 4 == len(read.sources) == len(read.notes) == NOTES
        assert all([read.host, read.name, *read.sources.values(), *read.notes])


def test_short_texts_are_carried_whole() -> None:
    """Nothing is cut that has room, and a new line becomes a blank."""
    report = Report(
        FULL,
        started=1.7e9,
        host="サーバー",
        name="ノード 3",
        pid=1,
        in_simulation=True,
        sources={"network": "sock_diag"},
        notes=("energy: keine Quelle\nfür Energie", "x" * 90),
    )
    read = decode(encode(report))
    assert ("サーバー", "ノード 3", report.sources) == (read.host, read.name, read.sources)
    assert ("energy: keine Quelle für Energie", "x" * 90) == read.notes


def test_a_number_that_is_none_costs_only_itself() -> None:
    """A client whose counter went mad still reports the others."""
    read = decode(encode(Report(FULL | {"seconds": math.inf, "cpu_seconds": math.nan})))
    assert {name: value for name, value in FULL.items() if name not in ("seconds", "cpu_seconds")} == read.cost


def test_impossible_numbers_are_left_out() -> None:
    """Below zero, but for the one that may be; too large for any measurement. A note tells which."""
    cost = FULL | {"seconds": -1e-9, "energy_joules": 1e16, "memory_delta_bytes": -1e9, "cpu_seconds": 1e15}
    read = decode(encode(Report(cost)))
    assert {"seconds", "energy_joules"} == cost.keys() - read.cost.keys()
    assert -1e9 == read.cost["memory_delta_bytes"]
    assert ("impossible numbers were left out: seconds, energy_joules",) == read.notes


@pytest.mark.parametrize("started", [-1.0, 0.0, 1.0, 1e15, 5e9])
def test_a_clock_that_was_never_set_is_not_believed(started: float) -> None:
    """The history says that it does not know when the call began."""
    with MonitoredGrid(LocalGrid(telling(Report(FULL, started=started)))) as grid:
        ask(grid, 1)
    assert [None] == [entry.started for entry in grid.history.entries]
    assert FULL == grid.history.entries[0].cost


def test_texts_of_a_client_are_printable() -> None:
    """Control characters, half characters, direction marks: none of them reaches a file, a terminal, a collector."""
    evil = "a\x1b[2J\ud800\u202e\x00\nb"
    read = decoded(host=evil, name=evil, sources={evil: evil}, notes=[evil])
    for text in (read.host, read.name, *read.sources, *read.sources.values(), *read.notes):
        assert "a?[2J??? b" == text


@pytest.mark.parametrize(
    "record",
    [
        {"format": "A" * 5_000_000},
        {"format": [1] * 100_000},
        {"format": True},
        {"format": 2},
        {"format": 1, "values": ["A" * 5_000_000], "about": "{}"},
        {"format": 1, "values": [1.0], "about": "A" * 5_000_000},
        {"format": 1, "values": [1.0], "about": '"' + "A" * 2000 + '"'},
        {"format": 1, "values": [1.0], "about": json.dumps({"notes": [["A" * 1900]]})},
    ],
)
def test_what_is_said_of_a_malformed_report_is_short(record: dict[str, Any]) -> None:
    """A line for the log, however many megabytes the client sent."""
    with pytest.raises(MalformedReport) as error:
        decode(ConfigRecord(record))
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("is_here", [True, False])
def test_only_this_machine_can_run_a_simulation_for_this_server(is_here: bool) -> None:
    """A client elsewhere that says so moves no CPU time of its own into this machine's account."""
    import platform

    host = platform.node() if is_here else "elsewhere"
    app = telling(Report(FULL, started=time.time(), host=host, in_simulation=True))
    with MonitoredGrid(LocalGrid(app)) as grid:
        ask(grid, 1)
    (entry,) = grid.history.entries
    assert is_here == entry.in_simulation == (entry.queue_seconds is not None)
    assert (FULL["cpu_seconds"] if is_here else 0.0) == grid.history.overhead.clients_cpu_seconds


# the grid


def test_grids_that_nobody_closes_are_closed() -> None:
    """Dropped and collected, in a cycle or not: no thread of theirs stays, their sinks are closed."""
    closed: list[int] = []

    class Closing:
        def open(self, history: History) -> None: ...
        def sent(self, kind: str, round: int, nodes: int) -> None: ...
        def entry(self, entry: Entry) -> None: ...
        def close(self) -> None:
            closed.append(1)

    threads = threading.active_count()
    for number in range(5):
        grid = MonitoredGrid(LocalGrid(answering()), sinks=[Closing()])
        ask(grid, 1)
        if number % 2:
            grid.itself = grid  # type: ignore[attr-defined]
        del grid
    gc.collect()
    wait_for(lambda: 5 == len(closed) and threading.active_count() <= threads, what="the end of the grids")


def test_a_program_that_ends_without_close_writes_the_files_end(tmp_path: Path) -> None:
    """Held to the end or dropped just before it, also by an exception: lost messages and the overhead are there."""
    for ending in ("", "del grid", "raise SystemExit(3)", "1 / 0"):
        path = tmp_path / "run.jsonl"
        code = f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from local_grid import LocalGrid
from heflwr.flower import HistoryFile, MonitoredGrid
grid = MonitoredGrid(LocalGrid(ClientApp()), sinks=[HistoryFile({str(path)!r})])
grid.push_messages([Message(RecordDict(), 100, "query")])
child = os.fork()
if not child:
    sys.exit()  # with exit handlers, but nothing of its own
os.waitpid(child, 0)
{ending}
"""
        result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
        assert {"": 0, "del grid": 0, "raise SystemExit(3)": 3, "1 / 0": 1}[ending] == result.returncode, result.stderr
        types = [json.loads(line)["type"] for line in path.read_text().splitlines()]
        assert ["heflwr history", "message", "overhead"] == types
        assert ["lost"] == [entry.status for entry in History.load(path).entries]
        path.unlink()


def test_messages_never_pulled_are_lost_when_flower_has_forgotten_them() -> None:
    """Their time to live is over: the next use of the grid tells, and the books do not grow with the run."""
    grid = MonitoredGrid(LocalGrid(answering()))
    grid.push_messages([Message(RecordDict(), 100, "query", ttl=0.2), Message(RecordDict(), 101, "query")])
    assert () == grid.history.entries

    def used() -> bool:
        grid.pull_messages([])
        return bool(grid.history.entries)

    wait_for(used)
    assert [(100, "lost")] == [(entry.node, entry.status) for entry in grid.history.entries]
    grid.close()
    assert [(100, "lost"), (101, "lost")] == [(entry.node, entry.status) for entry in grid.history.entries]


class Hearing:
    """A sink of the server that remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def open(self, history: History) -> None: ...

    def sent(self, kind: str, round: int, nodes: int) -> None:
        self.heard.append((kind, round, nodes))

    def entry(self, entry: Entry) -> None: ...

    def close(self) -> None: ...


def test_a_batch_of_several_rounds_is_told_by_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Each round with its own number of messages, and each comes to its end."""
    sink = Hearing()
    with MonitoredGrid(LocalGrid(answering()), sinks=[sink, Console(stream=sys.stdout)]) as grid:
        ask(grid, 1, 2, 2, 7)
        told = capsys.readouterr().out.splitlines()
    assert [("query", 1, 1), ("query", 2, 2), ("query", 7, 1)] == sink.heard
    assert ["1 of 1", "2 of 2", "1 of 1"] == [line.split(": ")[2].split(" nodes")[0] for line in told]


def test_an_incomplete_batch_is_overtaken() -> None:
    """A round of which a reply was never asked for does not stay on the screen when later rounds are complete."""
    progress = Progress(History())
    for number in range(1, 2 * WAITING_MOST):
        progress.sent("train", number, 2)
        progress.take(Entry(1, "1", number, "train", 0.0, 1.0))
    assert WAITING_MOST == len(progress.waiting())
    batch = progress.view().batch
    assert batch is not None
    assert (2 * WAITING_MOST - 1, None) == (batch.round, batch.ended)
    progress.sent("train", 5000, 1)
    progress.take(Entry(1, "1", 5000, "train", 0.0, 1.0))
    batch = progress.view().batch
    assert batch is not None
    assert 5000 == batch.round
    assert batch.ended is not None


def test_what_is_shown_is_the_kind_of_message_that_takes_the_time() -> None:
    """Each node's last training, though its evaluation came later."""
    progress = Progress(History())
    for kind, seconds in (("train", 2.0), ("evaluate", 0.1)):
        progress.take(Entry(1, "1", 1, kind, 0.0, 1.0, cost={"seconds": seconds}))
    view = progress.view()
    assert ("train", ["train"]) == (view.kind, [call.kind for call in view.calls])


def test_a_grid_around_a_monitored_grid_fails_alone(tmp_path: Path) -> None:
    """A sink of the outer one that cannot open leaves the inner one as it was, measuring."""
    inner = MonitoredGrid(LocalGrid(answering()))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        MonitoredGrid(inner, sinks=[HistoryFile(tmp_path / "file" / "run.jsonl")])
    burn(0.2)

    def measures() -> bool:
        inner.send_and_receive([])
        return inner.history.overhead.cpu_seconds > 0.15

    wait_for(measures)
    with MonitoredGrid(inner) as outer:
        ask(outer, 1)
    ask(inner, 2)
    assert [1] == [entry.round for entry in outer.history.entries]
    assert [1, 2] == [entry.round for entry in inner.history.entries]
    inner.close()
    assert {} == inner.history.faults


def test_a_metric_beyond_floats_costs_only_itself() -> None:
    """The entry is there with the other metrics, and a note tells."""
    grid = LocalGrid(answering())

    def spoil(reply: Message) -> Message:
        reply.content["m"] = MetricRecord({"huge": 1, "loss": 0.5})
        dict.__setitem__(vars(reply.content["m"]).get("_data", {}), "huge", 10**400)
        return reply

    grid.spoil = spoil
    with MonitoredGrid(grid) as watched:
        ask(watched, 1)
    (entry,) = watched.history.entries
    assert {"loss": 0.5} == entry.metrics
    assert ("metrics: 1 left out, too large for a float",) == entry.notes


def test_there_is_an_end_to_the_metrics_of_a_reply() -> None:
    """The first ones are kept, a note tells how many are not; the strategy gets them all."""
    metrics = {f"m{number}": float(number) for number in range(METRICS_MOST + 50)}
    seen: list[Message] = []
    with MonitoredGrid(LocalGrid(answering(lambda message: RecordDict({"m": MetricRecord(metrics)})))) as grid:
        seen += grid.send_and_receive([Message(RecordDict(), 100, "query")])
    (entry,) = grid.history.entries
    assert dict(list(metrics.items())[:METRICS_MOST]) == entry.metrics
    assert (f"metrics: 50 left out, more than {METRICS_MOST}",) == entry.notes
    assert metrics == dict(seen[0].content["m"])


def test_a_clock_that_is_set_back_turns_no_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round trips are taken by a clock that nobody sets."""
    grid = MonitoredGrid(LocalGrid(answering()))
    ids = list(grid.push_messages([Message(RecordDict(), 100, "query")]))
    set_back = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: set_back)
    grid.pull_messages(ids)
    monkeypatch.undo()
    grid.close()
    (entry,) = grid.history.entries
    assert entry.round_trip_seconds is not None
    assert 0 <= entry.round_trip_seconds < 60


class OfFlower(LocalGrid):
    """Takes the place of one of Flower's own grids, of which messages are pushed and pulled one by one."""

    pull_interval = 0.01

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("pushing and pulling is what it is asked for")

    send_and_receive.__module__ = "flwr.some.grid"


def test_messages_that_the_grid_does_not_take_are_lost_at_once() -> None:
    """Flower says so by an id that is none; nobody waits for an answer, and the others come."""

    class Refusing(OfFlower):
        def push_messages(self, messages: Any) -> Any:
            first, *rest = messages
            first.metadata.__dict__["_message_id"] = "refused"
            return [None, *super().push_messages(rest)]

    grid = MonitoredGrid(Refusing(answering()))
    grid.send_and_receive([Message(RecordDict(), node, "query") for node in (100, 101)])
    assert [(100, "lost"), (101, "ok")] == [(entry.node, entry.status) for entry in grid.history.entries]
    grid.close()
    assert 2 == len(grid.history.entries)


@pytest.mark.parametrize("kind", [LocalGrid, OfFlower])
def test_messages_that_could_not_be_sent_are_lost(kind: type[LocalGrid]) -> None:
    """The grid's own exception goes its way, and nothing waits for an answer."""

    class Failing(kind):  # type: ignore[misc, valid-type]
        def push_messages(self, messages: Any) -> Any:
            raise ConnectionError("no superlink")

    sink = Hearing()
    grid = MonitoredGrid(Failing(answering()), sinks=[sink])
    with pytest.raises(ConnectionError, match="no superlink"):
        grid.send_and_receive([Message(RecordDict(), node, "query") for node in (100, 101)])
    assert [(100, "lost"), (101, "lost")] == [(entry.node, entry.status) for entry in grid.history.entries]
    grid.close()
    assert 2 == len(grid.history.entries)


def test_an_error_of_flower_itself_counts_for_the_node_that_was_asked() -> None:
    """Flower answers for a node that is gone, in the server's own name; the history has node, kind and round."""
    grid = LocalGrid(answering())

    def spoil(reply: Message) -> Message:
        error = Message(Error(code=3, reason="gone"), reply_to=reply)
        vars(error.metadata).update(
            _src_node_id=1, _message_type="system", _reply_to_message_id=reply.metadata.reply_to_message_id
        )
        return error

    grid.spoil = spoil
    with MonitoredGrid(grid) as watched:
        ask(watched, 4)
    (entry,) = watched.history.entries
    assert (100, "query", 4, "error", "gone") == (entry.node, entry.kind, entry.round, entry.status, entry.error)


def test_a_grid_around_a_monitored_grid_has_the_costs_as_well() -> None:
    """Both histories say what the call took; the strategy sees no report."""
    with MonitoredGrid(LocalGrid(monitored(answering()))) as inner, MonitoredGrid(inner) as outer:
        ask(outer, 1)
    (entry,), (same,) = inner.history.entries, outer.history.entries
    assert entry.cost["seconds"] > 0
    assert (dict(entry.cost), entry.name, "0") == (dict(same.cost), same.name, same.name)


def test_of_a_long_error_beginning_and_end_are_kept() -> None:
    """Flower's simulation sends Ray's traceback, whose last line says what happened."""

    def fail(message: Message) -> RecordDict:
        raise LookupError("at " * 500 + "bad data")

    with MonitoredGrid(LocalGrid(answering(fail))) as watched:
        ask(watched, 1)
    (entry,) = watched.history.entries
    assert entry.error.startswith("LookupError: at at")
    assert entry.error.endswith("at bad data")
    assert 300 == len(entry.error)


def test_ids_that_are_none_cost_the_run_nothing() -> None:
    """A grid of somebody's own whose messages have no usable ids: told, and the ids come back as they are."""

    class Strange(LocalGrid):
        def push_messages(self, messages: Any) -> Any:
            for message in messages:
                message.metadata.__dict__["_message_id"] = []  # cannot be a key
            return ["a"]

    with MonitoredGrid(Strange(answering())) as grid:
        assert ["a"] == list(grid.push_messages([Message(RecordDict(), 100, "query")]))
    assert grid.history.faults["sending"] > 0


def test_a_monitored_server_can_be_pickled() -> None:
    """A copy has the sinks and an empty history."""
    take_identity()
    app = MonitoredServer(ServerApp(), sinks=[Gauges(0)])
    app.history.add(reply_of(1))
    copied = pickle.loads(pickle.dumps(app))
    assert isinstance(copied, MonitoredServer)
    assert () == copied.history.entries
    assert 1 == len(app.history.entries)

    @copied.main()
    def main(grid: Any, context: Context) -> None:
        ask(grid, 1)

    context = Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={})
    copied(LocalGrid(answering()), context)
    assert 1 == len(copied.history.entries)
