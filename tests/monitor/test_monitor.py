"""The monitor as a user meets it; every behaviour holds for both runners."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import burn, wait_for

from heflwr.monitor import Monitor, SinkUnavailable, process_monitor, thread_monitor
from heflwr.monitor.sinks.file import FileSink

STATS_KEYS = [
    "cpu_usage",
    "memory_usage",
    "network_bytes_sent",
    "network_bytes_recv",
    "power_vdd_in",
    "power_vdd_cpu_gpu_cv",
    "power_vdd_soc",
]
SUMMARY_KEYS = [
    "avg_cpu_usage",
    "avg_memory_usage",
    "total_network_bytes_sent",
    "total_network_bytes_recv",
    "total_power_vdd_in",
    "total_power_vdd_cpu_gpu_cv",
    "total_power_vdd_soc",
]
RUNNERS = ("thread", "process")
both = pytest.mark.parametrize("runner", RUNNERS)


@both
def test_stats_and_summary_have_exactly_the_documented_keys_at_any_time(runner: str) -> None:
    """Before start(), while running and after stop(); plain lists and numbers, power empty while it is off."""
    monitor = Monitor(runner=runner, interval=0.05)
    for change in (monitor.start, monitor.stop, monitor.stop):  # before, while running, after
        assert STATS_KEYS == list(monitor.stats())
        assert SUMMARY_KEYS == list(monitor.summary())
        assert all(type(value) in (int, float) for value in monitor.summary().values())
        assert all(type(v) in (int, float) for values in monitor.stats().values() for v in values)
        assert monitor.stats()["power_vdd_in"] == []
        change()
    assert len(monitor.stats()["cpu_usage"]) == len(monitor.stats()["network_bytes_sent"]) == monitor.health.samples


@both
def test_a_section_of_a_moment_has_its_numbers(runner: str) -> None:
    """0.2 s at an interval of an hour: a first sample at once, a last one at stop, and the burn is seen."""
    monitor = Monitor(runner=runner, interval=3600)
    monitor.start()
    burn(0.2)
    monitor.stop()
    assert len(monitor.stats()["cpu_usage"]) == 2
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.2, abs=0.06)
    assert 0 < monitor.summary()["avg_cpu_usage"] <= 100


@both
def test_the_first_sample_comes_at_once(runner: str) -> None:
    """It does not wait for the interval."""
    with Monitor(runner=runner, interval=3600) as monitor:
        assert wait_for(lambda: monitor.stats()["memory_usage"], 5.0)


@both
def test_nothing_before_start_is_billed(runner: str) -> None:
    """CPU burnt before start() is not in the run, and the first value is no false zero."""
    burn(0.5)
    monitor = Monitor(runner=runner, interval=3600)
    monitor.start()
    burn(0.1)
    monitor.stop()
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.1, abs=0.08)
    assert monitor.stats()["cpu_usage"][0] > 0


@both
def test_start_twice_stop_twice_stop_before_start(runner: str) -> None:
    """All are harmless."""
    monitor = Monitor(runner=runner, interval=0.05)
    monitor.stop()
    monitor.start()
    monitor.start()
    monitor.stop()
    count = monitor.health.samples
    monitor.stop()
    assert count == monitor.health.samples
    assert monitor.failure == ""


@both
def test_a_restart_is_a_new_run(runner: str) -> None:
    """History begins anew, and the monitor works as before."""
    monitor = Monitor(runner=runner, interval=0.05)
    for _ in range(3):
        monitor.start()
        burn(0.1)
        monitor.stop()
        assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.1, abs=0.06)
        assert monitor.samples()[0]["sequence"] == 0
        assert monitor.samples()[0]["elapsed"] < 5.0


@both
def test_two_monitors_at_once_see_the_same(runner: str, tmp_path: Path) -> None:
    """Even of one kind; each keeps its own samples and its own file."""
    module = process_monitor if runner == "process" else thread_monitor
    first = module.FileMonitor(tmp_path / "first.txt", interval=0.05)
    second = module.FileMonitor(tmp_path / "second.txt", interval=0.05)
    with first, second:
        burn(0.4)
    one, two = (monitor.describe()["cpu_seconds"].total for monitor in (first, second))
    assert one == pytest.approx(two, abs=0.1)
    assert one == pytest.approx(0.4, abs=0.15)
    for monitor, name in ((first, "first.txt"), (second, "second.txt")):
        assert len((tmp_path / name).read_text().splitlines()) == monitor.health.samples + 1


@both
def test_windows_nest_and_have_summaries_of_their_own(runner: str) -> None:
    """Each covers its own section only, and all together cover the run."""
    with Monitor(runner=runner, interval=0.05) as monitor:
        with monitor.window("outer") as outer:
            burn(0.2)
            with monitor.window("inner") as inner:
                burn(0.3)
        burn(0.2)
    used = {w.name: w.describe()["cpu_seconds"].total for w in (outer, inner)}
    assert used["inner"] == pytest.approx(0.3, abs=0.06)
    assert used["outer"] == pytest.approx(0.5, abs=0.06)
    assert inner.seconds < outer.seconds < monitor.samples()[-1]["elapsed"]
    assert SUMMARY_KEYS == list(inner.summary())


@both
def test_a_window_of_a_monitor_that_does_not_run_is_empty(runner: str) -> None:
    """Measuring never breaks what is measured: no error, only zeros."""
    monitor = Monitor(runner=runner)
    with monitor.window("nothing") as window:
        pass
    assert set(window.summary().values()) == {0}
    assert window.seconds == 0


@both
def test_watch_makes_a_run_of_each_call_and_a_window_of_a_nested_one(runner: str) -> None:
    """The function's result, name and errors pass through; coroutine functions too."""
    monitor = Monitor(runner=runner, interval=0.05)

    @monitor.watch
    def train(seconds: float) -> str:
        burn(seconds)
        if seconds == 0:
            raise KeyError("no data")
        return "trained"

    @monitor.watch
    async def evaluate() -> str:
        burn(0.1)
        return train(0.1)

    assert train.__name__ == "train"
    assert train(0.1) == "trained"
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.1, abs=0.06)
    assert asyncio.run(evaluate()) == "trained"
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.2, abs=0.08)
    with pytest.raises(KeyError):
        train(0)
    assert not monitor.health.is_running


@both
def test_samples_are_records_with_time_stamps(runner: str) -> None:
    """Unix time and elapsed seconds grow together, and a metric's column is there for each."""
    before = time.time()
    with Monitor(runner=runner, interval=0.02) as monitor:
        burn(0.2)
    samples = monitor.samples()
    assert list(range(len(samples))) == [sample["sequence"] for sample in samples]
    for sample in samples:
        assert before <= sample["time"] <= time.time()
        assert sample["memory_bytes"] > 1_000_000
    assert samples[-1]["time"] - samples[0]["time"] == pytest.approx(
        samples[-1]["elapsed"] - samples[0]["elapsed"], abs=0.05
    )


@both
def test_to_pandas_is_indexed_by_time(runner: str) -> None:
    """One row a sample, also for a monitor that has none yet."""
    with Monitor(runner=runner, interval=0.05) as monitor:
        assert "cpu_usage" in Monitor().to_pandas().columns
        burn(0.1)
    frame = monitor.to_pandas()
    assert len(frame) == monitor.health.samples
    assert str(frame.index.tz) == "UTC"


def test_set_metrics_takes_known_names_and_bools_only() -> None:
    """Anything else is refused with the names, and changes nothing."""
    monitor = Monitor()
    with pytest.raises(ValueError, match=r"'gpus'.*cpu, memory, network, power, disk"):
        monitor.set_metrics(memory=False, gpus=True)
    with pytest.raises(TypeError, match=r"'cpu'.*1 \(int\)"):
        monitor.set_metrics(memory=False, cpu=1)  # type: ignore[arg-type]
    assert "memory_usage" in [metric.name for metric in monitor.metrics]


@both
def test_groups_that_are_off_keep_their_keys_and_stay_empty(runner: str) -> None:
    """And groups beyond the four add keys only when they are on."""
    monitor = Monitor(runner=runner, interval=0.05)
    monitor.set_metrics(cpu=False, network=False, threads=True)
    with monitor:
        wait_for(lambda: monitor.health.samples, 5.0)
    assert STATS_KEYS == [key for key in monitor.stats() if key in STATS_KEYS]
    assert {"threads", "open_files", "context_switches"} == set(monitor.stats()) - set(STATS_KEYS)
    assert monitor.stats()["cpu_usage"] == []
    assert monitor.summary()["avg_threads"] >= 1
    assert monitor.summary()["avg_cpu_usage"] == 0


@pytest.mark.parametrize("module", [process_monitor, thread_monitor])
def test_the_six_monitors_have_the_documented_defaults(module: object) -> None:
    """FileMonitor("./log.txt", 5), PrometheusMonitor(8003, 5), RemoteMonitor("127.0.0.1:5000", 5, None, True)."""
    import inspect

    defaults = {
        name: {
            key: parameter.default
            for key, parameter in list(inspect.signature(getattr(module, name)).parameters.items())
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        }
        for name in ("FileMonitor", "PrometheusMonitor", "RemoteMonitor")
    }
    assert defaults == {
        "FileMonitor": {"file": "./log.txt", "interval": 5},
        "PrometheusMonitor": {"port": 8003, "interval": 5},
        "RemoteMonitor": {"host": "127.0.0.1:5000", "interval": 5, "identifier": None, "simple": True},
    }


@pytest.mark.parametrize(
    ("interval", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("5", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_an_impossible_interval_is_refused_at_the_door(interval: object, error: type[Exception]) -> None:
    """With the value in the text."""
    with pytest.raises(error, match=r"interval.*" + str(interval)):
        Monitor(interval=interval)  # type: ignore[arg-type]


@both
def test_an_interval_of_thirty_years_is_only_long(runner: str) -> None:
    """1e9 s: a first and a last sample, and stop() does not wait."""
    monitor = Monitor(runner=runner, interval=1e9)
    monitor.start()
    wait_for(lambda: monitor.health.samples, 5.0)
    before = time.monotonic()
    monitor.stop()
    assert time.monotonic() - before < 2.0
    assert monitor.health.samples == 2


def test_other_arguments_are_checked_at_the_door() -> None:
    """Each with the value and what is allowed."""
    for arguments, error in (
        ({"runner": "fork"}, "'process', 'thread'.*'fork'"),
        ({"network": "all"}, "'host', 'process'.*'all'"),
        ({"relative_to": "moon"}, "'machine', 'limit'.*'moon'"),
        ({"history": 0}, "history.*0"),
        ({"identifier": ""}, "identifier.*0"),
        ({"pid": -5}, "pid.*-5"),
    ):
        with pytest.raises(ValueError, match=error):
            Monitor(**arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="eth0"):
        Monitor(interfaces="eth0")


@both
def test_several_sinks_at_once(runner: str, tmp_path: Path) -> None:
    """Each gets every sample."""
    sinks = [FileSink(tmp_path / f"log.{format}", format=format) for format in ("text", "jsonl", "csv")]
    with Monitor(sinks, runner=runner, interval=0.02) as monitor:
        burn(0.2)
    samples = monitor.health.samples
    assert [samples + 1, samples + 1, samples + 2] == [
        len((tmp_path / f"log.{format}").read_text().splitlines()) for format in ("text", "jsonl", "csv")
    ]


@both
def test_a_run_used_from_a_thread_and_stopped_from_another(runner: str) -> None:
    """No thread owns the monitor."""
    monitor = Monitor(runner=runner, interval=0.05)
    for action in (monitor.start, lambda: burn(0.2), monitor.stop):
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.2, abs=0.08)


@both
def test_stop_is_prompt_whatever_the_interval(runner: str) -> None:
    """It does not wait for the next tick."""
    durations = []
    for _ in range(5):
        monitor = Monitor(runner=runner, interval=30)
        monitor.start()
        before = time.monotonic()
        monitor.stop()
        durations.append(time.monotonic() - before)
    assert sorted(durations)[2] < 1.0


@both
def test_a_forked_child_starts_afresh_and_leaves_the_parents_run_alone(runner: str, tmp_path: Path) -> None:
    """The child inherits a stopped monitor that it can start for itself; the parent's run goes on."""
    script = tmp_path / "forks.py"
    script.write_text(
        f"""
import os, sys, time, json
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from waiting import burn
from heflwr.monitor import Monitor
monitor = Monitor(runner={runner!r}, interval=0.05)
monitor.start()
pid = os.fork()
if pid == 0:
    was_running = monitor.health.is_running
    monitor.stop()
    monitor.start()
    burn(0.2)
    monitor.stop()
    used = monitor.describe()["cpu_seconds"].total
    print(json.dumps(["child", was_running, used, monitor.failure]), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
burn(0.2)
monitor.stop()
print(json.dumps(["parent", monitor.describe()["cpu_seconds"].total, monitor.failure]))
"""
    )
    command = [sys.executable, "-W", "error", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (0, "") == (result.returncode, result.stderr)
    (_, was_running, childs, childs_failure), (_, parents, parents_failure) = map(
        json.loads, result.stdout.splitlines()
    )
    assert not was_running
    assert [childs_failure, parents_failure] == ["", ""]
    assert childs == pytest.approx(0.2, abs=0.08)
    assert parents == pytest.approx(0.4, abs=0.15)  # the child it waited for included


def _in_a_worker(runner: str) -> float:
    monitor = Monitor(runner=runner, interval=0.05)
    with monitor:
        burn(0.2)
    return monitor.describe()["cpu_seconds"].total


@both
def test_a_daemonic_worker_may_use_a_monitor(runner: str) -> None:
    """multiprocessing forbids it children of its own; a plain subprocess it may have."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_in_a_worker, (runner,)) == pytest.approx(0.2, abs=0.08)


@both
def test_an_unguarded_script_works(runner: str, tmp_path: Path) -> None:
    """Four lines, no `if __name__ == "__main__"`, from another directory, and a file that stop() never closed."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""from heflwr.monitor.{runner}_monitor import FileMonitor
monitor = FileMonitor(file="./log.txt", interval=0.05)
monitor.start()
print(sum(range(3_000_000)))
"""
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ("4499998500000\n", "") == (result.stdout, result.stderr)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) >= 3  # header, first and last sample: an exit without stop() stops the monitor


@both
def test_a_jupyter_cell_may_use_a_monitor(runner: str, tmp_path: Path) -> None:
    """Code without a file, run by an event loop that is on: what a notebook kernel does."""
    code = f"""
import asyncio
async def kernel():
    source = '''
from heflwr.monitor import Monitor
monitor = Monitor(runner={runner!r}, interval=0.05)
monitor.start()
sum(range(1_000_000))
monitor.stop()
print(monitor.health.samples > 0, monitor.failure == "")
'''
    exec(compile(source, "<ipython-input-1>", "exec"), {{"__name__": "__main__"}})
asyncio.run(kernel())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-"], input=code, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ("True True\n", "") == (result.stdout, result.stderr)


class Broken:
    """A sink that cannot be opened, or fails at every sample."""

    flush_seconds = 0.0

    def __init__(self, opens: bool) -> None:
        self.opens = opens

    def open(self, run: object) -> None:
        if not self.opens:
            raise SinkUnavailable("no such place; choose another")

    def write(self, sample: object) -> None:
        raise OSError("no space left on this device")

    def close(self) -> None:
        raise OSError("nor can it be closed")

    def facts(self) -> dict[str, str]:
        return {"sink": "broken"}


@both
def test_a_sink_that_cannot_be_had_fails_start_and_nothing_stays_behind(runner: str, tmp_path: Path) -> None:
    """The error of the child arrives with its class and its text; the monitor can be started again later."""
    monitor = Monitor([FileSink(tmp_path / "log.txt"), Broken(opens=False)], runner=runner)
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match="choose another"):
            monitor.start()
        assert not monitor.health.is_running
    assert [] == [t.name for t in threading.enumerate() if t.name.startswith("heflwr")]


@both
def test_a_sink_that_fails_is_counted_and_sampling_goes_on(runner: str, tmp_path: Path) -> None:
    """The other sink and stats() get every sample."""
    monitor = Monitor([Broken(opens=True), FileSink(tmp_path / "log.txt")], runner=runner, interval=0.02)
    with monitor:
        wait_for(lambda: monitor.health.samples >= 5, 10.0)
    health = monitor.health
    assert health.samples == len((tmp_path / "log.txt").read_text().splitlines()) - 1
    assert health.errors["Broken"] == health.samples + 1  # every write, and the close
    assert monitor.failure == ""
    assert "nor can it be closed" in health.last_error


def test_a_sink_of_the_main_script_cannot_go_to_a_child_and_says_so(tmp_path: Path) -> None:
    """The way out is in the text."""
    code = """
from heflwr.monitor import Monitor, MonitorError
class Mine:
    flush_seconds = 0.0
    open = write = close = facts = print
try:
    Monitor([Mine()], runner="process").start()
except MonitorError as error:
    print(error)
"""
    script = tmp_path / "main_sink.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    assert "importable" in result.stdout
    assert "runner='thread'" in result.stdout


@both
def test_health_says_where_numbers_come_from(runner: str) -> None:
    """Sources by group, limits of the container, sinks; nothing failed, nothing missed for nothing."""
    with Monitor(runner=runner, interval=0.5) as monitor:
        health = monitor.health
    assert {"cpu", "memory", "network"} == set(health.sources)
    assert {"cpu_cores", "memory_bytes", "source"} == set(health.limits)
    assert health.is_running
    assert health.is_complete
    assert not monitor.health.is_running


@both
def test_a_short_history_keeps_the_latest_and_the_summary_counts_all(runner: str) -> None:
    """Memory is bounded; totals are not."""
    with Monitor(runner=runner, interval=0.005, history=10) as monitor:
        wait_for(lambda: monitor.health.samples > 40, 20.0)
        burn(0.1)
    health = monitor.health
    assert len(monitor.stats()["cpu_usage"]) == len(monitor.samples()) <= 10
    assert monitor.samples()[-1]["sequence"] == health.samples - 1
    assert health.forgotten >= health.samples - 12
    assert monitor.describe()["cpu_seconds"].count == health.samples
