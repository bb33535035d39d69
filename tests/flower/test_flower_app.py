"""heflwr.flower around whole apps in one process: what is measured, and that nothing else changes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from clouds_app import Learned, client, new_model, register, server
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import arrays_size_mod, message_size_mod
from flwr.serverapp import Grid, ServerApp, strategy
from local_grid import LocalGrid, run_app
from waiting import burn

import heflwr.flower
from heflwr.flower import Console, Entry, History, MonitoredGrid, MonitorMod, monitored
from heflwr.flower.records import RECORD
from heflwr.monitor.sinks.file import FileSink


@pytest.fixture(scope="module")
def plain() -> Learned:
    """What the app learns without heflwr."""
    learned = Learned()
    run_app(server(learned), client())
    return learned


def everyone(nodes: int = 3) -> dict[str, int]:
    return {"min_train_nodes": nodes, "min_evaluate_nodes": nodes, "min_available_nodes": nodes}


def test_one_line_on_each_side_measures_every_message(plain: Learned) -> None:
    """Each node's train and evaluate of each round is an entry with its cost; what is learned stays bit for bit."""
    learned = Learned()
    app = monitored(server(learned))
    run_app(app, monitored(client()))
    assert plain.bits == learned.bits
    assert plain.metrics == learned.metrics
    entries = app.history.entries
    expected = {(str(node), round, kind) for node in range(3) for round in (1, 2) for kind in ("train", "evaluate")}
    assert expected == {(entry.name, entry.round, entry.kind) for entry in entries}
    assert 12 == len(entries)
    for entry in entries:
        assert "ok" == entry.status
        assert entry.cost["seconds"] > 0
        assert entry.cost["cpu_seconds"] > 0
        assert entry.cost["memory_peak_bytes"] > 10 << 20
        assert 5200 <= entry.cost["arrays_bytes_in"] <= 5600  # 650 doubles, two headers
        assert entry.bytes_sent >= entry.cost["arrays_bytes_in"]
        assert ("loss" if entry.kind == "train" else "accuracy") in entry.metrics
        assert () == entry.notes


def test_the_mod_measures_as_the_wrapper_does(plain: Learned) -> None:
    """ClientApp(mods=[MonitorMod()]), and a Grid wrapped by hand inside main."""
    learned, histories = Learned(), []
    app = ServerApp()
    inner = server(learned)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        with MonitoredGrid(grid) as watched:
            histories.append(watched.history)
            inner(watched, context)

    run_app(app, client(mods=[MonitorMod(metrics=("cpu", "memory"))]))
    assert plain.bits == learned.bits
    assert 12 == len(histories[0].entries)
    assert all("network_bytes_sent" not in entry.cost for entry in histories[0].entries)
    assert all(entry.cost["cpu_seconds"] > 0 for entry in histories[0].entries)


def test_a_mod_for_one_function_measures_only_that() -> None:
    """`@app.train(mods=[...])`: evaluate goes unmeasured, and its entry says so by an empty cost."""
    app, learned = ClientApp(), Learned()
    register(app)
    inner = app._registered_funcs.pop("train.default")
    app.train(mods=[MonitorMod()])(inner)
    watched = monitored(server(learned))
    run_app(watched, app)
    assert {("train", True), ("evaluate", False)} == {
        (entry.kind, bool(entry.cost)) for entry in watched.history.entries
    }


def test_functions_may_be_registered_with_the_wrapped_apps() -> None:
    """`app = monitored(ClientApp())` first, `@app.train()` after; the same for the server's main and lifespans."""
    spans: list[str] = []
    app = monitored(ClientApp())
    register(app)

    @app.lifespan()
    def client_life(context: Context) -> Any:
        spans.append("client")
        yield

    whole = monitored(ServerApp())

    @whole.lifespan()
    def server_life(context: Context) -> Any:
        spans.append("server")
        yield

    @whole.main()
    def main(grid: Grid, context: Context) -> None:
        strategy.FedAvg(**everyone()).start(grid, initial_arrays=new_model(), num_rounds=1)

    run_app(whole, app)
    assert ["server"] + ["client"] * 6 == spans
    assert 6 == len(whole.history.entries)


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_other_side_may_have_no_heflwr(plain: Learned, side: str) -> None:
    """A report that nobody takes off harms nobody; a server without reports keeps what it sees itself."""
    learned = Learned()
    if side == "client":
        grid = run_app(server(learned), monitored(client()))
        assert all(RECORD in reply.content for reply in grid.replies)
    else:
        app = monitored(server(learned))
        run_app(app, client())
        assert 12 == len(app.history.entries)
        assert all(not entry.cost and entry.bytes_sent > 5000 for entry in app.history.entries)
        assert "100" in {entry.name for entry in app.history.entries}  # nobody told its partition
    assert plain.bits == learned.bits


STRATEGIES = {
    "FedAvg": lambda: strategy.FedAvg(**everyone()),
    "FedProx": lambda: strategy.FedProx(proximal_mu=0.1, **everyone()),
    "FedAdam": lambda: strategy.FedAdam(**everyone()),
    "FedYogi": lambda: strategy.FedYogi(**everyone()),
    "FedAdagrad": lambda: strategy.FedAdagrad(**everyone()),
    "FedAvgM": lambda: strategy.FedAvgM(**everyone()),
    "FedMedian": lambda: strategy.FedMedian(**everyone()),
    "FedTrimmedAvg": lambda: strategy.FedTrimmedAvg(**everyone()),
    "Krum": lambda: strategy.Krum(**everyone()),
    "QFedAvg": lambda: strategy.QFedAvg(client_learning_rate=0.5, train_loss_key="loss", **everyone()),
    "central DP": lambda: strategy.DifferentialPrivacyServerSideFixedClipping(
        strategy.FedAvg(**everyone()), noise_multiplier=0.0, clipping_norm=1.0, num_sampled_clients=3
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_any_strategy_learns_the_same(name: str) -> None:
    """Flower's own strategies, watched and not: identical arrays, and a report from everyone."""
    bare, watched = Learned(), Learned()
    run_app(server(bare, STRATEGIES[name]()), client())
    app = monitored(server(watched, STRATEGIES[name]()))
    run_app(app, monitored(client()))
    assert bare.bits == watched.bits
    assert bare.metrics == watched.metrics
    assert all(entry.cost for entry in app.history.entries)


def test_the_strategy_sees_replies_as_the_client_made_them() -> None:
    """No record of ours, no extra metric: the same names in the same order, equal values."""
    seen: list[dict[str, Any]] = []

    class Looking(strategy.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            seen.extend({name: dict(record) for name, record in reply.content.items()} for reply in replies)
            return super().aggregate_train(server_round, replies)

    run_app(monitored(server(Learned(), Looking(**everyone()))), monitored(client()))
    assert 6 == len(seen)
    assert all(["arrays", "metrics"] == list(content) for content in seen)
    assert all({"num-examples", "loss"} == set(content["metrics"]) for content in seen)


def test_flowers_own_mods_go_along(plain: Learned, caplog: pytest.LogCaptureFixture) -> None:
    """Mods that weigh messages read our record too, inside ours and outside."""
    learned = Learned()
    mods = [message_size_mod, arrays_size_mod, MonitorMod(), message_size_mod, arrays_size_mod]
    app = monitored(server(learned))
    run_app(app, monitored(client(mods=mods)))
    assert plain.bits == learned.bits
    assert all(entry.cost for entry in app.history.entries)


def test_a_legacy_app_is_measured() -> None:
    """NumPyClient behind client_fn, a legacy strategy behind server_fn: rounds by Flower's group id."""
    from flwr.client import NumPyClient
    from flwr.server import ServerAppComponents, ServerConfig
    from flwr.server.strategy import FedAvg

    class Client(NumPyClient):
        def get_parameters(self, config: Any) -> Any:
            return [np.zeros(5)]

        def fit(self, parameters: Any, config: Any) -> Any:
            burn(0.1)
            return [parameters[0] + 1], 3, {"loss": 0.5}

        def evaluate(self, parameters: Any, config: Any) -> Any:
            return 0.25, 3, {"accuracy": 0.75}

    def components(context: Context) -> ServerAppComponents:
        legacy = FedAvg(min_fit_clients=3, min_evaluate_clients=3, min_available_clients=3)
        return ServerAppComponents(strategy=legacy, config=ServerConfig(num_rounds=2))

    app = monitored(ServerApp(server_fn=components))
    run_app(app, monitored(ClientApp(client_fn=lambda context: Client().to_client())))
    trained = [entry for entry in app.history.entries if entry.kind == "train"]
    assert {("train", 1), ("train", 2), ("evaluate", 1), ("evaluate", 2)} <= {
        (entry.kind, entry.round) for entry in app.history.entries
    }
    assert 6 == len(trained)
    assert all(entry.cost["cpu_seconds"] >= 0.05 for entry in trained)  # Flower runs them at once, in threads
    judged = [entry.metrics for entry in app.history.entries if entry.kind == "evaluate"]
    assert [{"loss": 0.25, "num_examples": 3.0, "accuracy": 0.75}] * 6 == judged


@pytest.mark.burns
def test_each_call_has_its_own_cost() -> None:
    """Known burns, one after the other in one process: within 5 % and 10 ms."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        burn((0.2, 0.5, 0.05)[int(context.node_config["partition-id"])])
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    for entry in ask_everyone(monitored(app)).entries:
        wanted = (0.2, 0.5, 0.05)[int(entry.name)]
        assert abs(entry.cost["cpu_seconds"] - wanted) <= 0.05 * wanted + 0.01
        parts = entry.cost["cpu_user_seconds"] + entry.cost["cpu_system_seconds"]
        assert abs(parts - wanted) <= 0.05 * wanted + 0.05  # the sampling thread's are among them


@pytest.mark.burns
def test_a_subprocess_belongs_to_the_call() -> None:
    """CPU time of a child that was waited for: in cpu_seconds, and apart in cpu_children_seconds."""
    code = "import time\nwhile time.process_time() < 0.4: pass"
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    (entry,) = ask_everyone(monitored(app), nodes=1).entries
    assert entry.cost["cpu_seconds"] == pytest.approx(0.4, rel=0.05, abs=0.05)
    assert entry.cost["cpu_children_seconds"] == pytest.approx(0.4, rel=0.05, abs=0.05)
    assert entry.cost["cpu_user_seconds"] < 0.1


def test_threads_of_blas_belong_to_the_call() -> None:
    """Native threads compute without Python's knowing: the call's CPU time is the process's, not the thread's."""
    app = ClientApp()
    used: list[float] = []

    @app.query()
    def query(message: Message, context: Context) -> Message:
        matrix = np.random.default_rng(0).random((1200, 1200))
        before = time.process_time()
        while time.process_time() < before + 0.5:
            matrix = matrix @ matrix / 1e3
        used.append(time.process_time() - before)
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    (entry,) = ask_everyone(monitored(app), nodes=1).entries
    assert entry.cost["cpu_seconds"] == pytest.approx(used[0], rel=0.05, abs=0.1)  # the matrix is made outside `used`


def test_memory_of_the_call_not_of_the_process() -> None:
    """A peak of a former call is not billed again; what a call keeps shows as its delta."""
    app = ClientApp()
    kept: list[bytearray] = []

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 0:
            block = bytearray(100 << 20)
            del block
        elif context.node_config["partition-id"] == 1:
            kept.append(bytearray(50 << 20))
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    first, second, third = ask_everyone(monitored(app)).entries
    kept.clear()
    assert first.cost["memory_peak_bytes"] - first.cost["memory_bytes"] >= 95 << 20
    assert second.cost["memory_peak_bytes"] < first.cost["memory_peak_bytes"] - (30 << 20)
    assert second.cost["memory_delta_bytes"] == pytest.approx(50 << 20, rel=0.1)
    assert abs(third.cost["memory_delta_bytes"]) < 10 << 20


@pytest.mark.burns
def test_samples_of_the_calls_reach_a_file_a_node(tmp_path: Path) -> None:
    """A function makes each node's own sinks; every call is a run in the node's file."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        burn(0.15)
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    def sinks(node: Any) -> list[FileSink]:
        return [FileSink(tmp_path / f"node-{node.name}.jsonl", format="jsonl")]

    ask_everyone(monitored(app, sinks=sinks), rounds=2)
    for node in range(3):
        lines = [json.loads(line) for line in (tmp_path / f"node-{node}.jsonl").read_text().splitlines()]
        headers = [line for line in lines if "type" in line]
        assert [f"node {node}"] * 2 == [header["identifier"] for header in headers]
        assert sum(line["cpu_seconds"] for line in lines if "type" not in line) == pytest.approx(0.3, rel=0.1)


def test_the_server_feeds_a_monitors_sink_with_every_node(tmp_path: Path) -> None:
    """A sink of the monitor given to the server: a run a node, a sample a reply."""
    file = tmp_path / "fleet.jsonl"
    app = monitored(server(Learned()), sinks=[FileSink(file, format="jsonl")])
    run_app(app, monitored(client()))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {"node 0", "node 1", "node 2"} == {line["identifier"] for line in lines if "type" in line}
    samples = [line for line in lines if "type" not in line]
    assert 12 == len(samples)
    assert all(sample["cpu_seconds"] > 0 for sample in samples)


def test_the_record_on_a_reply_is_small() -> None:
    """Under 1 KiB as Flower sends it."""
    grid = run_app(server(Learned()), monitored(client()))
    for reply in grid.replies:
        assert isinstance(reply.content[RECORD], ConfigRecord)
        assert len(reply.content[RECORD].deflate()) < 1024
        assert {"num-examples"} < set(reply.content["metrics"]) <= {"num-examples", "loss", "accuracy"}


@pytest.mark.parametrize("wrap", [monitored, MonitorMod])
def test_apps_and_mods_can_be_pickled(wrap: Any, tmp_path: Path) -> None:
    """Before their first message and after it: Ray sends an app to its workers again and again."""
    options: Any = {"metrics": ("cpu", "disk"), "sinks": [FileSink(tmp_path / "x.log")]}
    app = monitored(client(), **options) if wrap is monitored else client(mods=[MonitorMod(**options)])
    run_app(server(Learned()), app)
    copied = cloudpickle.loads(cloudpickle.dumps(app))
    learned = Learned()
    watched = monitored(server(learned))
    run_app(watched, copied)
    assert all(entry.cost for entry in watched.history.entries)
    assert isinstance(pickle.loads(pickle.dumps(MonitorMod())), MonitorMod)
    assert (tmp_path / "x.log").exists()


@pytest.mark.burns
def test_several_messages_to_one_node_at_once() -> None:
    """Matched by message, not by node."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        burn(float(message.content["config"]["burn"]))
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    grid = MonitoredGrid(LocalGrid(monitored(app), 1))
    burns = (0.3, 0.02, 0.1)
    messages = [
        Message(RecordDict({"config": ConfigRecord({"burn": one, "server-round": place})}), 100, "query")
        for place, one in enumerate(burns, 1)
    ]
    ids = list(grid.push_messages(messages))
    assert [] == list(grid.history.entries)
    list(grid.pull_messages(ids[1:]))
    list(grid.pull_messages(ids[:1]))
    grid.close()
    assert [2, 3, 1] == [entry.round for entry in grid.history.entries]
    for entry in grid.history.entries:
        wanted = burns[entry.round - 1]
        assert abs(entry.cost["cpu_seconds"] - wanted) <= 0.05 * wanted + 0.01


def test_what_cannot_be_wrapped_is_refused_at_the_door() -> None:
    """Neither app, an unknown metric, an option of the other side, a sink that is none."""
    with pytest.raises(TypeError, match="ClientApp or a ServerApp, got 5"):
        monitored(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="there is no metric 'cpus'; choose from cpu, memory"):
        MonitorMod(metrics=("cpus",))
    with pytest.raises(TypeError, match=r"write \('cpu',\)"):
        MonitorMod(metrics="cpu")
    with pytest.raises(ValueError, match="interval must be from"):
        monitored(ClientApp(), interval=0)
    with pytest.raises(TypeError, match="resident must be True or False"):
        monitored(ClientApp(), resident=1)
    with pytest.raises(
        TypeError,
        match=r"has no option 'resident'; it has sinks, watch, kinds, sync, lease, checkpoint, live$",
    ):
        monitored(ServerApp(), resident=True)
    with pytest.raises(
        TypeError,
        match=r"ClientApp has no option 'metric'; it has metrics, sinks, interval, resident, watch, warm_up, live$",
    ):
        monitored(ClientApp(), metric=("cpu",))
    for app in (ClientApp(), ServerApp()):
        with pytest.raises(TypeError, match="monitored already, wrap it once"):
            monitored(monitored(app))
    with pytest.raises(TypeError, match=r"sinks\[0\] is no sink: 'log.txt'"):
        monitored(ServerApp(), sinks=["log.txt"])
    with pytest.raises(TypeError, match=r"sinks\[0\] is no sink: 'log.txt'"):
        monitored(ClientApp(), sinks=["log.txt"])
    with pytest.raises(TypeError, match=r"sinks\[0\] is for the server's side"):
        monitored(ClientApp(), sinks=[Console()])
    with pytest.raises(TypeError, match="wraps the grid that a ServerApp's main gets, got None"):
        MonitoredGrid(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("metrics", [None, 5, True, {"disk": False}])
def test_metrics_that_are_no_list_are_refused(metrics: Any) -> None:
    """A mapping, too: what is switched off in it would be on."""
    with pytest.raises(TypeError, match=r"metrics must be a list of names, got .*\("):
        MonitorMod(metrics=metrics)


@pytest.mark.parametrize("app", [ClientApp(), ServerApp()], ids=["client", "server"])
@pytest.mark.parametrize("sinks", [None, 5, "log.txt", FileSink("log.txt"), FileSink])
def test_sinks_that_are_no_list_are_refused(app: Any, sinks: Any) -> None:
    """One sink alone, or a class, which can be called as a function of a node can."""
    with pytest.raises(TypeError, match=r"sinks must be a list of sinks.* got "):
        monitored(app, sinks=sinks)


@pytest.mark.parametrize("app", [ClientApp(), ServerApp()], ids=["client", "server"])
def test_a_class_is_no_sink(app: Any) -> None:
    """It has all that a sink has, and would fail at the first call."""
    with pytest.raises(TypeError, match=r"sinks\[0\] is a class, .* write FileSink\(...\)"):
        monitored(app, sinks=[FileSink])


def test_names_can_be_completed_before_they_are_imported() -> None:
    """dir() has every public name."""
    assert set(heflwr.flower.__all__) <= set(dir(heflwr.flower))


def test_a_second_mod_inside_measures_nothing(plain: Learned, tmp_path: Path) -> None:
    """Two lines where one would do: the outer one measures, and its note says what became of the other."""
    learned = Learned()
    inner = MonitorMod(sinks=[FileSink(tmp_path / "inner.jsonl", format="jsonl")])
    app = monitored(server(learned))
    run_app(app, monitored(client(mods=[inner])))
    assert plain.bits == learned.bits
    for entry in app.history.entries:
        assert 0 == entry.cost["overlapping"]
        assert 0 == entry.cost["config_bytes_out"]
        assert ("there is a second MonitorMod inside: it measures nothing, its options are not used",) == entry.notes
    assert not (tmp_path / "inner.jsonl").exists()


def test_an_app_that_returns_no_message_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What it returned goes its way, nothing of ours is left running, and the log says what was wrong."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> None:
        return None

    contexts = LocalGrid(app).contexts
    threads = threading.active_count()
    with caplog.at_level("WARNING", "heflwr.flower"):
        assert monitored(app)(Message(RecordDict(), 100, "query"), contexts[100]) is None
    assert threads == threading.active_count()
    assert ["heflwr goes on without measuring: the app returned NoneType in place of a Message"] == caplog.messages


def ask_everyone(app: ClientApp, nodes: int = 3, rounds: int = 1) -> History:
    """Send each node a query a round, in order; return what came of it."""
    with MonitoredGrid(LocalGrid(app, nodes)) as grid:
        for round_number in range(1, rounds + 1):
            content = RecordDict({"config": ConfigRecord({"server-round": round_number})})
            grid.send_and_receive([Message(content, node, "query") for node in grid.get_node_ids()])
    for entry in grid.history.entries:
        assert "ok" == entry.status, entry.error
    assert isinstance(grid.history.entries[0], Entry)
    return grid.history


def test_an_array_record_is_weighed_by_its_data() -> None:
    """A megabyte of doubles in, half of it out."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(RecordDict({"a": ArrayRecord([np.zeros(1 << 16)])}), reply_to=message)

    grid = MonitoredGrid(LocalGrid(monitored(app), 1))
    grid.send_and_receive([Message(RecordDict({"a": ArrayRecord([np.zeros(1 << 17)])}), 100, "query")])
    grid.close()
    (entry,) = grid.history.entries
    assert entry.cost["arrays_bytes_in"] == pytest.approx(1 << 20, rel=0.001)
    assert entry.cost["arrays_bytes_out"] == pytest.approx(1 << 19, rel=0.001)
    assert entry.bytes_received == pytest.approx(1 << 19, rel=0.001)


def test_calls_that_overlap_say_so_and_bill_no_idle_time() -> None:
    """A call that begins while another is on waited for nobody: only who finds the process at rest looks back."""
    app, begun, may_end = ClientApp(), threading.Event(), threading.Event()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if message.content["config"]["long"]:
            begun.set()
            may_end.wait(10)
        return Message(RecordDict({"m": MetricRecord({"n": 1})}), reply_to=message)

    grid = MonitoredGrid(LocalGrid(monitored(app), 1))

    def send(is_long: bool) -> None:
        grid.send_and_receive([Message(RecordDict({"config": ConfigRecord({"long": is_long})}), 100, "query")])

    thread = threading.Thread(target=send, args=(True,))
    thread.start()
    assert begun.wait(10)
    send(False)
    may_end.set()
    thread.join()
    send(False)
    grid.close()
    during, long, after = grid.history.entries
    assert "idle_seconds" not in during.cost
    assert [1, 1, 0] == [entry.cost["overlapping"] for entry in (during, long, after)]
    assert any("shares its numbers with 1 other" in note for note in during.notes)
    assert after.cost["idle_seconds"] >= 0
