"""What users, their sinks and their signals may do to a monitor without harm to training or to the numbers."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import burn, wait_for

from heflwr.monitor import Monitor
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink

both = pytest.mark.parametrize("runner", ["thread", "process"])


class Talkative:
    """A sink that prints, and whose facts cannot be had."""

    flush_seconds = 0.0

    def open(self, run: Run) -> None:
        print("opened", run.identifier)

    def write(self, sample: Sample) -> None:
        print("sample", sample.sequence, flush=True)

    def close(self) -> None:
        print("closed")

    def facts(self) -> dict[str, Any]:
        raise LookupError("no facts today")


def agents() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "heflwr.monitor.runners._agent" in " ".join(child.cmdline())]


def run_script(tmp_path: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    script.write_text(f"import sys\nsys.path[:0] = {paths!r}\n{textwrap.dedent(code)}")
    return subprocess.run(
        [sys.executable, *options, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


@both
def test_a_sink_that_prints_or_has_no_facts_disturbs_nothing(runner: str, tmp_path: Path) -> None:
    """Frames and prints do not mix, and what facts() raises is counted."""
    sinks = [Talkative(), FileSink(tmp_path / "log.txt")]
    with Monitor(sinks, runner=runner, interval=0.02) as monitor:
        wait_for(lambda: monitor.health.samples > 5)
        assert monitor.health.sinks[0] == {"sink": "Talkative"}
    assert monitor.failure == ""
    assert monitor.health.errors["Talkative"] > 0
    assert len((tmp_path / "log.txt").read_text().splitlines()) == monitor.health.samples + 1


def test_signals_to_the_whole_group_do_not_end_the_sampling() -> None:
    """SIGTERM, SIGHUP and SIGINT are the parent's: the agent ends when it does."""
    with Monitor(runner="process", interval=0.02) as monitor:
        (agent,) = agents()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            agent.send_signal(number)
        seen = monitor.health.samples
        wait_for(lambda: monitor.health.samples > seen + 5)
    assert monitor.failure == ""


def test_an_interrupted_start_leaves_no_agent_behind(tmp_path: Path) -> None:
    """Ctrl-C while start() waits for the child: no process goes on that nobody could stop."""
    code = """
    import json, os, threading, time
    import psutil
    from heflwr.monitor import Monitor
    from waiting import wait_for
    monitor = Monitor(runner="process", interval=0.01)
    stop = threading.Event()
    def interrupt():
        while not psutil.Process().children():
            pass
        os.kill(os.getpid(), 2)
    threading.Thread(target=interrupt).start()
    try:
        monitor.start()
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    running = monitor.health.is_running
    monitor.stop()
    ended = psutil.STATUS_ZOMBIE  # one whose Popen was interrupted is reaped by the next Popen
    wait_for(lambda: all(child.status() == ended for child in psutil.Process().children()), 5)
    print(json.dumps(running))
    """
    result = run_script(tmp_path, code)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) in (True, False)


@both
def test_a_fork_in_the_middle_of_start_and_stop_harms_no_child(runner: str, tmp_path: Path) -> None:
    """Another thread starts and stops a monitor all the time; each child of a fork can use it at once."""
    code = f"""
    import os, threading, sys, warnings
    from heflwr.monitor import Monitor
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested here
    monitor = Monitor(runner={runner!r}, interval=0.01)
    monitor.start(); monitor.stop()
    on = True
    def toggle():
        while on:
            monitor.start()
            monitor.stop()
    thread = threading.Thread(target=toggle)
    thread.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            import signal
            signal.alarm(10)
            monitor.stop()
            monitor.summary()
            with Monitor(runner="thread", interval=0.01) as own:
                pass
            os._exit(0 if own.health.samples else 1)
        codes.append(os.waitpid(pid, 0)[1])
    on = False
    thread.join()
    print(sum(code != 0 for code in codes))
    """
    result = run_script(tmp_path, code)
    assert ("0\n", "") == (result.stdout, result.stderr)


def test_windows_survive_a_sampler_that_hears_nothing() -> None:
    """Marks that a stopped agent could not be sent: no window turns inside out, and none stays open for good."""
    with Monitor(runner="process", interval=0.02) as monitor:
        wait_for(lambda: monitor.health.samples)
        (agent,) = agents()
        agent.suspend()
        lost = []
        for _ in range(10_000):  # more than the pipe holds
            with monitor.window("while stopped") as window:
                pass
            lost.append(window)
        agent.resume()
        wait_for(lambda: lost[0].is_complete)

        def is_heard_at_once() -> bool:
            with monitor.window("behind those in the pipe") as behind:
                pass
            return behind.is_complete

        wait_for(is_heard_at_once)
        with monitor.window("later") as later:
            burn(0.1)
        assert lost[-1].seconds == 0
        assert not lost[-1].is_complete
        assert later.is_complete
        assert later.seconds == pytest.approx(0.1, abs=0.2)
        before = [window.seconds for window in lost]
        burn(0.1)
        assert before == [window.seconds for window in lost]


@both
def test_a_window_made_before_start_measures_what_it_surrounds(runner: str) -> None:
    """It asks for the run when it is entered, not when it is made; used twice, it covers the second time."""
    monitor = Monitor(runner=runner, interval=0.05)
    window = monitor.window("early")
    assert window.seconds == 0
    for seconds in (0.3, 0.1):
        with monitor, window:
            burn(seconds)
        assert window.describe()["cpu_seconds"].total == pytest.approx(seconds, abs=0.08)
        assert window.is_complete


def test_a_windows_samples_reach_the_file_at_once(tmp_path: Path) -> None:
    """Not only at the next tick, an hour later."""
    with Monitor([FileSink(tmp_path / "log.txt")], runner="thread", interval=3600) as monitor:
        wait_for(lambda: monitor.health.samples)
        with monitor.window("now"):
            pass
        wait_for(lambda: len((tmp_path / "log.txt").read_text().splitlines()) == 4)


def test_stop_in_a_signal_handler_is_prompt_wherever_it_comes(tmp_path: Path) -> None:
    """Also in the middle of a window's edge, whose lock the interrupted thread holds."""
    code = """
    import json, os, signal, threading, time
    from heflwr.monitor import Monitor
    class Done(Exception):
        pass
    slowest, failures = 0.0, []
    def handler(number, frame):
        global slowest
        before = time.monotonic()
        monitor.stop()
        slowest = max(slowest, time.monotonic() - before)
        raise Done
    signal.signal(signal.SIGALRM, handler)
    for n in range(30):
        monitor = Monitor(runner="thread", interval=0.001)
        monitor.start()
        signal.setitimer(signal.ITIMER_REAL, 0.01 + n * 0.0003)
        try:
            while True:
                with monitor.window("edge"):
                    monitor.stats()
        except Done:
            pass
        failures.append(monitor.failure)
    print(json.dumps([slowest, [f for f in failures if f]]))
    """
    result = run_script(tmp_path, code)
    assert result.stderr == ""
    slowest, failures = json.loads(result.stdout)
    assert failures == []
    assert slowest < 4


@both
def test_a_generator_is_watched_to_its_end(runner: str) -> None:
    """From the first item to the last, with its result; an asynchronous one is refused."""
    monitor = Monitor(runner=runner, interval=0.05)

    @monitor.watch
    def batches() -> Iterator[int]:
        for number in range(3):
            burn(0.05)
            yield number

    assert list(batches()) == [0, 1, 2]
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.15, abs=0.08)
    with pytest.raises(TypeError, match="asynchronous generator"):

        @monitor.watch
        async def stream() -> Any:
            yield 1


def test_overlapping_calls_of_a_watched_function_are_one_run() -> None:
    """The first to leave does not stop the run for the other."""
    monitor = Monitor(runner="thread", interval=0.05)
    entered, leave = threading.Event(), threading.Event()

    @monitor.watch
    def hold() -> None:
        entered.set()
        leave.wait(10)

    @monitor.watch
    def pass_by() -> None:
        pass

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    pass_by()
    assert monitor.health.is_running
    leave.set()
    thread.join()
    assert not monitor.health.is_running
    with monitor:
        pass_by()
        assert monitor.health.is_running  # start() began this run, so stop() ends it


@both
def test_facts_of_sinks_stay_after_the_watched_process_has_ended(runner: str, tmp_path: Path) -> None:
    """health.sinks tells the last words, also when it was not stop() that ended the run."""
    with subprocess.Popen(["sleep", "60"]) as process:
        sink = FileSink(tmp_path / "log.txt")
        with Monitor([sink], runner=runner, interval=0.02, pid=process.pid) as monitor:
            wait_for(lambda: monitor.health.samples)
            process.kill()
            process.wait()
            wait_for(lambda: monitor.failure)
            with monitor.window("too late") as window:
                pass
            assert window.seconds == 0
            assert [facts["sink"] for facts in monitor.health.sinks] == ["file"]


@both
def test_hundred_runs_leave_no_threads_descriptors_or_processes(runner: str, tmp_path: Path) -> None:
    """Start and stop, over and over, with a sink."""
    monitor = Monitor([FileSink(tmp_path / "log.txt")], runner=runner, interval=0.05)
    with monitor:
        pass
    gc.collect()
    before = psutil.Process().num_fds(), threading.active_count()
    for _ in range(100 if runner == "thread" else 15):
        with monitor:
            pass
    gc.collect()
    assert before == (psutil.Process().num_fds(), threading.active_count())
    assert agents() == []


def test_what_is_no_sink_is_refused_at_the_door() -> None:
    """With its place and what it lacks; one sink alone, with the list that it should be in."""
    with pytest.raises(TypeError, match=r"sinks\[1\].*'log.txt'.*flush_seconds"):
        Monitor([FileSink("log.txt"), "log.txt"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"sinks must be a list of sinks, such as \[FileSink\(...\)\]"):
        Monitor(FileSink("log.jsonl"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{"pid": 1.9}, {"history": 1.7}, {"loopback": "no"}, {"interfaces": [1]}, {"interfaces": 1}],
    ids=str,
)
def test_arguments_of_a_wrong_type_are_refused_not_rounded(arguments: dict[str, Any]) -> None:
    """Nothing is cut to fit."""
    with pytest.raises(TypeError):
        Monitor(**arguments)


def test_interfaces_and_process_traffic_exclude_each_other() -> None:
    """A name that would be ignored is refused."""
    with pytest.raises(ValueError, match="network='host'"):
        Monitor(network="process", interfaces=["eth0"])


def test_a_monitor_started_and_dropped_goes_on(tmp_path: Path) -> None:
    """Nobody holds it: it samples until the interpreter ends, and then its file is whole."""
    code = """
    import gc, time
    from heflwr.monitor.thread_monitor import FileMonitor
    FileMonitor("log.jsonl", interval=0.02, format="jsonl").start()
    gc.collect()
    time.sleep(0.3)
    """
    result = run_script(tmp_path, code, "-W", "error")
    assert ("", "") == (result.stdout, result.stderr)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) > 8


def test_closed_standard_streams_do_not_matter(tmp_path: Path) -> None:
    """A daemon has none; both runners work."""
    code = """
    import os
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    from heflwr.monitor import Monitor
    counts = []
    for runner in ("thread", "process"):
        with Monitor(runner=runner, interval=0.02) as monitor:
            pass
        counts.append(f"{monitor.health.samples} {monitor.failure}")
    with open("result.txt", "w") as file:
        file.write(repr(counts))
    """
    run_script(tmp_path, code)
    assert (tmp_path / "result.txt").read_text() == "['1 ', '1 ']"


@both
def test_mean_cpu_usage_is_exact_with_children_that_live_for_a_moment(runner: str) -> None:
    """Their time comes in one piece, more than a sample can show; the mean of the run and of a window has it all."""
    command = [sys.executable, "-I", "-S", "-c", "sum(i * i for i in range(1_000_000))"]
    with Monitor(runner=runner, interval=0.1) as monitor:
        before = time.monotonic()
        spent = sum(os.times()[:4])
        with monitor.window("children") as window:
            for _ in range(6):
                for child in [subprocess.Popen(command) for _ in range(2)]:
                    child.wait()
        seconds = time.monotonic() - before
        truth = 100 * (sum(os.times()[:4]) - spent) / seconds / (os.cpu_count() or 1)
    assert monitor.summary()["avg_cpu_usage"] == pytest.approx(truth, abs=8)
    assert window.summary()["avg_cpu_usage"] == pytest.approx(truth, abs=8)
    used = monitor.describe()["cpu_seconds"].total
    share = 100 * used / monitor.samples()[-1]["elapsed"] / (os.cpu_count() or 1)
    assert monitor.summary()["avg_cpu_usage"] == pytest.approx(share, abs=0.1)
    assert max(monitor.stats()["cpu_usage"]) <= 100


def test_modules_that_shadow_the_standard_library_do_not_reach_the_child(tmp_path: Path) -> None:
    """A backport in site-packages, a notebook's own typing.py: what Python had loaded already, the child loads too."""
    for name in ("dataclasses", "typing", "pathlib", "enum", "logging"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('shadowed')")
    code = f"""
    from heflwr.monitor import Monitor
    sys.path.insert(0, {str(tmp_path)!r})
    with Monitor(runner="process", interval=0.05) as monitor:
        pass
    print(monitor.health.samples, monitor.failure)
    """
    folder = tmp_path / "scripts"
    folder.mkdir()
    result = run_script(folder, code)
    assert ("1 \n", "") == (result.stdout, result.stderr)
