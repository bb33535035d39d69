"""The bridge around whole apps in one process: what rides along, what is known, what it does not disturb."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from local_grid import LocalGrid, run_app

from heflwr.automon import fleet
from heflwr.automon.fleet import Measure
from heflwr.flower import AutoMonMod, Fleet, MonitoredGrid, MonitorMod, monitored
from heflwr.flower.records import RECORD, WATCH

STATE_BYTES = 16 * 1024
"""What a node's memory may have at 40 numbers a vector."""


ROUNDED = 1 + 1e-9
"""Bounds are sums of many numbers."""


def watched(bound: float = 5.0) -> list[Measure]:
    return [fleet.mean("cpu_seconds", bound=bound), fleet.total("seconds", bound=bound)]


def client(seen: list[list[str]] | None = None, **options: Any) -> ClientApp:
    """An app that adds one to the model, and notes the names of the records that it gets."""
    app = ClientApp(**options)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if seen is not None:
            seen.append(sorted(message.content))
        arrays = [array + 1 for array in message.content["arrays"].to_numpy_ndarrays()]
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        if seen is not None:
            seen.append(sorted(message.content))
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": 0.5})}), reply_to=message)

    return app


def server(
    results: list[Any] | None = None, rounds: int = 3, nodes: int = 3, act: Callable[[int], Any] | None = None
) -> ServerApp:
    """An app that averages, and notes what the strategy made of it."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        def aggregate(replies: list[RecordDict], weighted_by: str) -> MetricRecord:
            assert all(WATCH not in reply for reply in replies)
            return MetricRecord({weighted_by: len(replies)})

        strategy = FedAvg(
            min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes, train_metrics_aggr_fn=aggregate
        )
        result = strategy.start(
            grid,
            initial_arrays=ArrayRecord([np.zeros(3)]),
            num_rounds=rounds,
            evaluate_fn=lambda number, arrays: act(number) if act else None,
        )
        if results is not None:
            results.append([array.tobytes() for array in result.arrays.to_numpy_ndarrays()])

    return app


def test_one_list_on_each_side() -> None:
    """After a warm-up round there is an answer; neither the app nor the strategy sees anything of it."""
    plain: list[Any] = []
    run_app(server(plain), client())
    results: list[Any] = []
    seen: list[list[str]] = []
    app = monitored(server(results), watch=watched())
    grid = run_app(app, monitored(client(seen), watch=watched()))
    assert app.fleet is not None
    assert plain == results
    assert {("arrays", "config")} == {tuple(names) for names in seen}
    assert ["mean cpu_seconds", "total seconds"] == list(app.fleet)
    for name, answer in app.fleet.items():
        assert 3 == answer.live, name
        assert 0 <= answer.value + answer.bound
        assert answer.bound <= ROUNDED * 5.0
    assert [(1, 0, 0), (2, 3, 3), (3, 3, 6)] == [
        (settled.round, settled.reports, settled.replies) for settled in app.fleet.log if "total" in settled.name
    ]
    assert 3 * 2 == app.fleet.reports
    assert {} == app.fleet.faults
    assert {} == app.history.faults
    for context in grid.contexts.values():
        assert [WATCH] == list(context.state)
    for entry in app.history.entries:
        assert () == entry.notes
        assert entry.cost["seconds"] > 0


def test_the_answer_is_of_what_was_measured() -> None:
    """The mean of the history's own costs, each round, within the bound and no further."""
    app = monitored(server(rounds=5), watch=[fleet.mean("seconds", bound=1e-4), fleet.total("cpu_seconds", bound=1e-3)])
    run_app(app, monitored(client(), watch=[fleet.mean("seconds", bound=9.0), fleet.total("cpu_seconds", bound=9.0)]))
    assert app.fleet is not None
    by_round = {
        number: [entry.cost for entry in app.history.entries if entry.kind == "train" and entry.round == number]
        for number in range(2, 6)
    }
    for settled in app.fleet.log:
        if settled.round > 1:
            values = [cost[settled.name.split()[1]] for cost in by_round[settled.round]]
            truth = float(np.mean(values) if settled.name == "mean seconds" else np.sum(values))
            assert abs(truth - settled.answer.value) <= settled.answer.bound + 1e-12, settled


def test_the_histories_bytes_are_the_apps() -> None:
    """Ours are counted by the fleet: what goes out and comes in is the same as without it."""
    bare, full = monitored(server()), monitored(server(), watch=watched())
    run_app(bare, monitored(client()))
    grid = run_app(full, monitored(client(), watch=watched()))
    assert full.fleet is not None
    for one, other in zip(bare.history.entries, full.history.entries, strict=True):
        assert (one.bytes_sent, one.bytes_received) == (other.bytes_sent, other.bytes_received)
        assert one.cost["config_bytes_in"] == other.cost["config_bytes_in"]
    carried = sum(len(reply.content[WATCH]["data"]) for reply in grid.replies if WATCH in reply.content)
    assert carried == full.fleet.bytes_received
    assert 9 == sum(WATCH in reply.content for reply in grid.replies)
    assert full.fleet.bytes_sent > sum(traffic.bytes_sent for traffic in full.fleet.traffic.values()) > 0


def test_the_mod_alone_reports_no_costs() -> None:
    """AutoMonMod measures where the server asks, and what it measures goes to the fleet only."""
    app = monitored(server(), watch=watched())
    run_app(app, client(mods=[AutoMonMod(watched())]))
    assert app.fleet is not None
    assert 3 == app.fleet["mean cpu_seconds"].live
    assert all(not entry.cost for entry in app.history.entries)
    assert {} == app.fleet.faults


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_both_mods_share_one_measurement(order: list[int]) -> None:
    """Whichever is outside: costs in the history, answers in the fleet, and no complaint."""
    mods = [MonitorMod(), AutoMonMod(watched())]
    app = monitored(server(), watch=watched())
    run_app(app, client(mods=[mods[place] for place in order]))
    assert app.fleet is not None
    assert 3 == app.fleet["mean cpu_seconds"].live
    trained = [entry for entry in app.history.entries if entry.kind == "train"]
    assert all(entry.cost and () == entry.notes for entry in trained)
    assert {} == app.fleet.faults


def test_a_grid_wrapped_by_hand() -> None:
    """It has a fleet of its own; what it asks does not change the caller's messages, which share one content."""
    local = LocalGrid(monitored(client(), watch=watched()), 3)
    with MonitoredGrid(local, watch=watched()) as grid:
        shared = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": 1})})
        messages = [Message(shared, dst_node_id=node, message_type="train") for node in grid.get_node_ids()]
        for _ in range(2):
            replies = list(grid.send_and_receive(messages))
            assert 3 == len(replies)
            assert {"arrays", "metrics"} == set(replies[0].content)
        assert ["arrays", "config"] == sorted(shared)
        assert all(message.content is shared for message in messages)
        assert grid.fleet is not None
        assert 3 == grid.fleet["total seconds"].live


def test_two_grids_that_watch() -> None:
    """The outer one does; the inner one leaves its asks alone."""
    local = LocalGrid(monitored(client(), watch=watched()), 3)
    inner = MonitoredGrid(local, watch=watched())
    outer = MonitoredGrid(inner, watch=watched())
    for number in (1, 2):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": number})})
        outer.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (100, 101, 102)])
    assert inner.fleet is not None
    assert outer.fleet is not None
    assert [0, 3] == [grid.fleet["total seconds"].live for grid in (inner, outer) if grid.fleet]
    assert {} == outer.fleet.faults


def test_only_kinds_that_are_asked_count() -> None:
    """A vector a message of these kinds: here of evaluation alone."""
    app = monitored(server(), watch=watched(), kinds=["evaluate"])
    grid = run_app(app, monitored(client(), watch=watched()))
    assert {"evaluate"} == {reply.metadata.message_type for reply in grid.replies if WATCH in reply.content}
    assert app.fleet is not None
    assert 3 == app.fleet["total seconds"].live


def test_a_server_that_watches_nothing() -> None:
    """The client then does and stores nothing."""
    app = monitored(server())
    grid = run_app(app, monitored(client(), watch=watched()))
    assert app.fleet is None
    assert all(WATCH not in reply.content for reply in grid.replies)
    assert all(not context.state for context in grid.contexts.values())


@pytest.mark.parametrize(
    ("wrapped", "reason"),
    [
        (lambda: client(), "neither monitored"),
        (lambda: monitored(client()), "watches nothing"),
        (lambda: monitored(client(), watch=watched()[:1]), "another list"),
        (lambda: monitored(client(), watch=watched()[::-1]), "another list"),
    ],
    ids=["plain", "monitored", "shorter list", "other order"],
)
def test_a_client_without_the_list(wrapped: Callable[[], ClientApp], reason: str) -> None:
    """The answer stays unknown; both sides say why, and the run is what it would have been."""
    results: list[Any] = []
    app = monitored(server(results), watch=watched())
    run_app(app, wrapped())
    assert app.fleet is not None
    answer = app.fleet["total seconds"]
    assert answer.value != answer.value
    assert 0 == answer.live
    (fault,) = app.fleet.faults
    assert reason in fault
    assert 9 == app.fleet.faults[fault]
    assert 1 == len(results)
    notes = [note for entry in app.history.entries if entry.kind == "train" for note in entry.notes]
    assert reason == "neither monitored" or all(reason in note for note in notes)
    assert reason == "neither monitored" or 9 == len(notes)


def test_a_metric_that_a_node_does_not_have() -> None:
    """It says so, and does not count for that function; the others are not concerned."""
    measures = [fleet.mean("seconds", bound=1.0), fleet.total("battery_joules", bound=1.0)]
    app = monitored(server(), watch=measures)
    run_app(app, monitored(client(), watch=measures))
    assert app.fleet is not None
    assert 3 == app.fleet["mean seconds"].live
    assert 0 == app.fleet["total battery_joules"].live
    assert {"total battery_joules: this node does not measure battery_joules": 6} == app.fleet.faults
    assert app.fleet.last_fault.startswith("node 10")


def test_a_vector_function_that_raises() -> None:
    """Costs its own function only, and the reason travels."""

    def broken(sample: Any) -> Any:
        raise ZeroDivisionError("of mine")

    measures = [fleet.function(lambda x: x[0], 1, vector=broken, bound=1.0, name="mine"), *watched()]
    app = monitored(server(), watch=measures)
    run_app(app, monitored(client(), watch=measures))
    assert app.fleet is not None
    assert ["mine: ZeroDivisionError: of mine"] == list(app.fleet.faults)
    assert 3 == app.fleet["total seconds"].live


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_first_calls_are_left_out(warm_up: int) -> None:
    """As many of each node as the client's side says; it counts from then on."""
    app = monitored(server(rounds=5), watch=watched())
    run_app(app, monitored(client(), watch=watched(), warm_up=warm_up))
    assert app.fleet is not None
    live = [settled.answer.live for settled in app.fleet.log if settled.name == "total seconds"]
    assert [0] * warm_up + [3] * (5 - warm_up) == live


def test_an_app_that_raises_measured_nothing() -> None:
    """Its vector is what it was; the answer holds without it."""
    fails = [False]
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if fails[0] and context.node_id == 100:
            raise RuntimeError("of the app")
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    local = LocalGrid(monitored(app, watch=watched(), warm_up=0), 3)
    grid = MonitoredGrid(local, watch=watched())
    assert grid.fleet is not None
    for number in range(1, 8):
        fails[0] = number > 1
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (100, 101, 102)])
    answer = grid.fleet["total seconds"]
    assert (3, 1, 0) == (answer.live, answer.stale, answer.lost)
    assert answer.bound <= ROUNDED * 5.0


def test_a_node_that_is_no_longer_there_is_lost() -> None:
    """The answer is of the others; when it comes back it counts again."""
    local = LocalGrid(monitored(client(), watch=watched(), warm_up=0), 3)
    grid = MonitoredGrid(local, watch=watched())
    assert grid.fleet is not None
    seen = []
    gone = None
    for number in range(1, 5):
        if number == 2:
            gone = local.contexts.pop(101)
        if number == 4 and gone is not None:
            local.contexts[101] = gone
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": number})})
        grid.send_and_receive(
            [Message(content, dst_node_id=node, message_type="train") for node in grid.get_node_ids()]
        )
        answer = grid.fleet["total seconds"]
        seen.append((answer.live, answer.lost))
    assert [(3, 0), (2, 1), (2, 1), (3, 0)] == seen


def test_a_node_that_owes_replies_is_lost_after_its_lease() -> None:
    """Until then nobody knows what it measured, and the bound says so."""
    local = LocalGrid(monitored(client(), watch=watched(), warm_up=0), 3)
    grid = MonitoredGrid(local, watch=Fleet(watched(), lease=2))
    assert grid.fleet is not None
    seen = []
    for number in range(1, 5):
        local.spoil = lambda reply: None if number > 1 and reply.metadata.src_node_id == 101 else reply  # noqa: B023
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": number})})
        grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (100, 101, 102)])
        answer = grid.fleet["total seconds"]
        seen.append((answer.live, answer.lost, answer.bound <= ROUNDED * 5.0))
    assert [(3, 0, True), (3, 0, False), (2, 1, True), (2, 1, True)] == seen


def test_a_node_is_asked_once_at_a_time() -> None:
    """Two messages to one node at once: the second asks for nothing, and the answer is of the first."""
    local = LocalGrid(monitored(client(), watch=watched(), warm_up=0), 2)
    grid = MonitoredGrid(local, watch=watched())
    assert grid.fleet is not None
    content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": 1})})
    grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (100, 100, 101)])
    assert [True, False, True] == [WATCH in reply.content for reply in local.replies]
    assert 2 == grid.fleet["total seconds"].live


def test_a_reply_that_never_comes_does_not_stop_the_answers() -> None:
    """A server that pushes and pulls by itself never says that it has given up: after `lease` rounds we do."""
    local = LocalGrid(monitored(client(), watch=watched(), warm_up=0), 3)
    grid = MonitoredGrid(local, watch=Fleet(watched(), lease=2))
    assert grid.fleet is not None
    for number in range(1, 6):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": number})})
        is_lost = number == 2
        local.spoil = lambda reply: None if is_lost and reply.metadata.src_node_id == 102 else reply  # noqa: B023
        nodes = (100, 101, 102) if number < 3 else (100, 101)
        ids = list(grid.push_messages([Message(content, dst_node_id=node, message_type="train") for node in nodes]))
        list(grid.pull_messages(ids))
    settled = [one for one in grid.fleet.log if one.name == "total seconds"]
    assert [1, 4, 5] == [one.round for one in settled]
    assert [3, 3, 3] == [one.answer.live for one in settled]
    assert [True, False, False] == [one.answer.bound <= ROUNDED * 5.0 for one in settled]


def jumping(sample_of: dict[int, float], node: list[int]) -> list[Measure]:
    """A mean of numbers that the test itself sets."""
    return [
        fleet.function(lambda x: x[0], 1, vector=lambda sample: [sample_of[node[0]]], bound=1.0, name="level", unit="1")
    ]


@pytest.mark.parametrize("sync", ["piggyback", "query"])
def test_asking_at_once(sync: str) -> None:
    """Two of eight nodes are sampled a round and their level moves far: then the others' zones no longer fit.

    With sync="query" the nodes with an old zone are asked within the round, and answer without the app, which has no
    query function; with sync="piggyback" nothing is sent but what the strategy sends.
    """
    levels: dict[int, float] = {}
    node, calls = [0], [0]
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node[0] = context.node_id
        calls[0] += 1
        return Message(RecordDict(), reply_to=message)

    measures = jumping(levels, node)
    local = LocalGrid(monitored(app, watch=measures, warm_up=0), 8)
    grid = MonitoredGrid(local, watch=Fleet(measures, sync=sync))  # type: ignore[arg-type]
    assert grid.fleet is not None
    random = np.random.default_rng(4)
    wide = 0
    for number in range(1, 31):
        nodes = list(local.contexts) if number == 1 else random.choice(list(local.contexts), 2, replace=False).tolist()
        for one in nodes:
            levels[one] = 10.0 + random.normal(0, 0.3) + 3 * (number // 5)
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        grid.send_and_receive([Message(content, dst_node_id=one, message_type="train") for one in nodes])
        answer = grid.fleet["level"]
        assert abs(np.mean(list(levels.values())) - answer.value) <= answer.bound + 1e-9
        wide += answer.bound > ROUNDED
    assert 8 + 29 * 2 == calls[0]
    assert {} == grid.fleet.faults
    assert len(local.replies) == calls[0] + grid.fleet.queries
    assert 31 > len({settled.round for settled in grid.fleet.log}) == len(grid.fleet.log)
    if sync == "query":
        assert 0 == wide
    else:
        assert 0 == grid.fleet.queries


def test_asking_at_once_where_only_a_mod_is(caplog: pytest.LogCaptureFixture) -> None:
    """Flower does not call mods for a query without a function: each node is asked once, and the log says it in a line.

    That is no fault: the answers are those of sync="piggyback".
    """
    levels: dict[int, float] = {}
    node = [0]

    def mod(message: Message, context: Context, call_next: Any) -> Message:
        node[0] = context.node_id
        return call_next(message, context)

    measures = jumping(levels, node)
    local = LocalGrid(client(mods=[AutoMonMod(measures, warm_up=0), mod]), 4)
    grid = MonitoredGrid(local, watch=Fleet(measures, sync="query"))
    assert grid.fleet is not None
    for number in range(1, 12):
        levels.update({one: 5.0 * number * (one % 2) for one in local.contexts})
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": number})})
        nodes = [100, 101] if number % 2 else [102, 103]
        is_lost = number == 3
        local.spoil = lambda reply: None if is_lost and reply.metadata.message_type == "train" else reply  # noqa: B023
        grid.send_and_receive([Message(content, dst_node_id=one, message_type="train") for one in nodes])
    assert 1 <= grid.fleet.queries <= 4
    assert {} == grid.fleet.faults
    (told,) = [record.getMessage() for record in caplog.records if 'sync="query"' in record.getMessage()]
    assert 'sync="query" has no effect on node 10' in told
    assert "use monitored(client_app, watch=...)" in told


def test_alerts_and_listeners() -> None:
    """Called after the round that made them due; what they raise is counted, and the run goes on."""
    due: list[float] = []
    measures = [
        fleet.mean("seconds", bound=5.0).when(above=-10.0, call=lambda answer: due.append(answer.value)),
        fleet.total("cpu_seconds", bound=5.0).when(above=-100.0, possible=True, call=lambda answer: 1 / 0),
    ]
    app = monitored(server(), watch=measures)
    assert app.fleet is not None
    heard: list[Any] = []
    app.fleet.listen(lambda settled: heard.append(settled))
    app.fleet.listen(lambda settled: 1 / 0)
    run_app(app, monitored(client(), watch=measures))
    assert 1 == len(due)
    assert [1, 1, 2, 2, 3, 3] == [settled.round for together in heard for settled in together]
    assert {
        "an alert of total cpu_seconds: ZeroDivisionError: division by zero": 1,
        "a listener: ZeroDivisionError: division by zero": 3,
    } == app.fleet.faults


def test_a_server_that_comes_back(tmp_path: Path) -> None:
    """From its checkpoint it knows the nodes, and that it knows nothing of them before they were heard."""
    path = tmp_path / "of" / "fleet.state"
    first = monitored(server(), watch=watched(), checkpoint=path)
    local = run_app(first, monitored(client(), watch=watched()))
    seen: list[Any] = []
    fleets: list[Fleet] = []
    again = monitored(
        server(act=lambda number: seen.append(fleets[0]["total seconds"])), watch=watched(), checkpoint=path
    )
    assert again.fleet is not None
    fleets.append(again.fleet)
    again(local, Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={}))
    assert [3, 3, 3, 3] == [answer.live for answer in seen]
    assert seen[0].bound > 1e6
    assert seen[1].bound <= ROUNDED * 5.0
    assert {} == again.fleet.faults


@pytest.mark.parametrize("content", [b"garbage", None], ids=["damaged", "of another list"])
def test_a_checkpoint_that_is_of_no_use(content: bytes | None, tmp_path: Path) -> None:
    """The run begins anew, says why, and replaces it."""
    path = tmp_path / "fleet.state"
    if content is None:
        Fleet(watched()[:1]).save(path)
    else:
        path.write_bytes(content)
    app = monitored(server(), watch=watched(), checkpoint=path)
    run_app(app, monitored(client(), watch=watched()))
    assert app.fleet is not None
    assert 3 == app.fleet["total seconds"].live
    (fault,) = app.fleet.faults
    assert fault.startswith("checkpoint: ")
    assert str(path) in fault
    again = monitored(server(), watch=watched(), checkpoint=path)
    run_app(again, monitored(client(), watch=watched()))
    assert again.fleet is not None
    assert {} == again.fleet.faults


def test_what_a_node_remembers_is_small() -> None:
    """Forty numbers a vector, in the node's state, and again after a run through pickle."""
    bend = np.diag(np.linspace(-1, 1, 40))
    f = fleet.function(
        lambda x: x @ bend @ x, 40, vector=lambda sample: np.full(40, sample["seconds"]), bound=1e-6, name="large"
    )
    measures = [f]
    app = monitored(server(rounds=4), watch=measures)
    grid = run_app(app, monitored(client(), watch=measures))
    for context in grid.contexts.values():
        size = len(context.state[WATCH]["data"])
        assert 3 * 8 * 40 < size < STATE_BYTES
    assert app.fleet is not None
    assert {} == app.fleet.faults


def test_what_watches_is_not_sent_to_workers() -> None:
    """A mod is pickled for every message: what makes vectors goes along, f, its span and its alerts do not."""
    lock = threading.Lock()

    def f(x: Any) -> Any:
        with lock:
            return x[0]

    measure = fleet.function(f, 1, vector=lambda sample: [sample["seconds"]], bound=1.0, name="locked")
    measures = [measure.when(above=1e9, call=lambda answer: lock.acquire())]
    app = monitored(client(), watch=measures)
    copied = cloudpickle.loads(cloudpickle.dumps(app))
    plain = pickle.loads(pickle.dumps(MonitorMod(watch=watched())))
    assert isinstance(plain, MonitorMod)
    whole = monitored(server(), watch=measures)
    run_app(whole, copied)
    assert whole.fleet is not None
    assert 3 == whole.fleet["locked"].live


PROGRAM = """
import sys, time
import flwr.app
from flwr.clientapp import ClientApp
from heflwr.automon import fleet
from heflwr.flower import AutoMonMod, monitored
sys.path[:0] = {paths!r}
from test_watch import client, server
from local_grid import run_app
watch = [fleet.mean("seconds", bound=1.0), fleet.quantile("cpu_usage", 0.95), fleet.imbalance("memory_usage", bound=1)]
import heflwr.flower.watch.client, heflwr.flower.client.mod
from heflwr.flower.watch.client import Watcher
Watcher(watch)
monitored(client(), watch=watch)
assert not [name for name in sys.modules if name.split(".")[0] in ("jax", "jaxlib", "autograd", "scipy")], "too much"
"""


def test_a_client_loads_no_jax() -> None:
    """Nor what else only the server needs: in an interpreter of its own."""
    here = Path(__file__).parent
    code = PROGRAM.format(paths=[str(here), str(here.parent)])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert 0 == run.returncode, run.stderr


def test_who_watches_nothing_loads_nothing_of_it() -> None:
    """Neither side of a monitored app."""
    code = """
import sys
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from heflwr.flower import monitored
monitored(ClientApp()), monitored(ServerApp())
assert not [name for name in sys.modules if name.startswith("heflwr.automon")]
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert 0 == run.returncode, run.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: monitored(ServerApp(), watch=[fleet.mean("cpu_usage")]), "has no bound"),
        (lambda: monitored(ClientApp(), watch=[fleet.mean("cpu_usage")]), "has no bound"),
        (lambda: monitored(ServerApp(), watch=fleet.mean("cpu_usage", bound=1.0)), "must be a list"),
        (lambda: monitored(ServerApp(), watch="mean"), "must be a list"),
        (lambda: monitored(ServerApp(), watch=["mean"]), r"watch\[0\] is no measure"),
        (lambda: monitored(ClientApp(), watch=[*watched(), *watched()]), "have the name 'mean cpu_seconds'"),
        (lambda: monitored(ServerApp(), watch=watched(), sync="often"), "must be one of 'piggyback', 'query'"),
        (lambda: monitored(ServerApp(), watch=watched(), lease=0), "lease must be from 1"),
        (lambda: monitored(ServerApp(), watch=watched(), kinds="train"), "must be a list of message types"),
        (lambda: monitored(ServerApp(), watch=watched(), kinds=[]), "must name message types"),
        (lambda: monitored(ServerApp(), lease=3), "only mean something together with watch"),
        (lambda: monitored(ClientApp(), warm_up=3), "only means something together with watch"),
        (lambda: monitored(ClientApp(), watch=watched(), warm_up=-1), "warm_up must be from 0"),
        (lambda: AutoMonMod([]), "watch holds"),
        (lambda: Fleet([]), "watch holds"),
        (lambda: Fleet(watched())["mean cpu"], "watched are 'mean cpu_seconds', 'total seconds'"),
        (lambda: Fleet(watched()).listen(3), "a listener is a function"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_told_at_the_door(make: Callable[[], Any], words: str) -> None:
    """With the value and the way out."""
    with pytest.raises((TypeError, ValueError, KeyError), match=words):
        make()


def test_a_monitored_client_keeps_its_report() -> None:
    """Whatever else rides along."""
    grid = run_app(monitored(server(), watch=watched()), monitored(client(), watch=watched()))
    trained = [reply for reply in grid.replies if reply.metadata.message_type == "train"]
    assert all({RECORD, WATCH} <= set(reply.content) for reply in trained)


def test_the_fleet_is_there_before_and_while_the_run_is() -> None:
    """An answer without a value first; another thread may ask at any time."""
    app = monitored(server(rounds=4), watch=watched())
    assert app.fleet is not None
    before = app.fleet["total seconds"]
    assert before.value != before.value
    assert 0 == before.live
    ask, stop = app.fleet, threading.Event()
    asked: list[int] = []

    def keep_asking() -> None:
        while not stop.wait(0.001):
            asked.append(ask["total seconds"].live)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    began = time.monotonic()
    run_app(app, monitored(client(), watch=watched()))
    stop.set()
    thread.join()
    assert time.monotonic() > began
    assert {0, 3} >= set(asked)
