"""What may go wrong around a monitor, done for real: kills, stops, forks, full disks, exhausted descriptors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from programs import need_root
from waiting import burn, wait_for

from heflwr.monitor import Monitor, SinkUnavailable
from heflwr.monitor.sinks.file import FileSink

both = pytest.mark.parametrize("runner", ["thread", "process"])
PREAMBLE = f"""
import sys, os, time, json, signal
sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(Path(__file__).parents[2])!r}]
from waiting import burn, wait_for
from heflwr.monitor import Monitor
from heflwr.monitor.sinks.file import FileSink
"""


@contextmanager
def workload(tmp_path: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script as a process of its own, in its own group; whatever is left of it is killed at the end."""
    script = tmp_path / "workload.py"
    script.write_text(PREAMBLE + textwrap.dedent(code))
    with subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def agents_of(pid: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children() if "heflwr.monitor.runners._agent" in " ".join(p.cmdline())]


def records(path: Path) -> list[dict[str, object]]:
    """Return the samples of a JSON-lines log; every line must be whole."""
    return [row for row in map(json.loads, path.read_text().splitlines()) if "sequence" in row]


@both
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_process_leaves_no_orphan_and_whole_lines(
    runner: str, number: signal.Signals, tmp_path: Path
) -> None:
    """The agent ends by itself and what was filed before the kill is intact."""
    code = f"""
    monitor = Monitor([FileSink("log.jsonl", format="jsonl")], runner={runner!r}, interval=0.01)
    monitor.start()
    wait_for(lambda: monitor.health.samples > 20)
    print("ready", flush=True)
    time.sleep(60)
    """
    with workload(tmp_path, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        agents = agents_of(process.pid)
        assert len(agents) == (1 if runner == "process" else 0)
        process.send_signal(number)
        process.wait(10)
        _, alive = psutil.wait_procs(agents, timeout=10)
        assert alive == []
    samples = records(tmp_path / "log.jsonl")
    assert len(samples) > 20
    assert list(range(len(samples))) == [sample["sequence"] for sample in samples]


def test_an_agent_ends_with_its_parent_even_if_a_forked_child_holds_its_pipe(tmp_path: Path) -> None:
    """End of stdin does not come then; the agent sees that its parent is another."""
    code = """
    monitor = Monitor([], runner="process", interval=3600)
    monitor.start()
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("ready", flush=True)
    time.sleep(60)
    """
    with workload(tmp_path, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        agents = agents_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGKILL
        _, alive = psutil.wait_procs(agents, timeout=10)
        assert agents
        assert alive == []


def test_ctrl_c_ends_training_and_the_agent_follows_in_order(tmp_path: Path) -> None:
    """SIGINT goes to the whole group; the agent stays until its parent has stopped it, and the last sample is there."""
    code = """
    monitor = Monitor([], runner="process", interval=3600)
    try:
        with monitor:
            wait_for(lambda: monitor.health.samples)
            print("ready", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print(json.dumps([monitor.failure, monitor.health.samples]), flush=True)
    """
    with workload(tmp_path, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        agents = agents_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        failure, samples = json.loads(process.stdout.readline())
        assert failure == ""
        assert samples == 2
        assert psutil.wait_procs(agents, timeout=10)[1] == []


def test_a_killed_agent_is_reported_and_training_goes_on(tmp_path: Path) -> None:
    """failure says so, the summary says incomplete, what came before stays, and a restart works."""
    with Monitor([FileSink(tmp_path / "log.jsonl", format="jsonl")], runner="process", interval=0.01) as monitor:
        wait_for(lambda: monitor.health.samples > 10)
        (agent,) = agents_of(os.getpid())
        agent.kill()
        wait_for(lambda: monitor.failure, what="the report of the failure")
        with monitor.window("after"):
            burn(0.05)
        assert not monitor.health.is_complete
        assert str(agent.pid) in monitor.failure
    assert len(monitor.stats()["cpu_usage"]) > 10
    assert monitor.summary()["avg_memory_usage"] > 0
    assert len(records(tmp_path / "log.jsonl")) > 10
    with monitor:
        wait_for(lambda: monitor.health.samples)
    assert monitor.failure == ""


def test_a_stopped_agent_blocks_nothing_and_catches_up(tmp_path: Path) -> None:
    """SIGSTOP: stats, windows and health answer from what is known; SIGCONT: the totals are whole again."""
    with Monitor(runner="process", interval=0.02) as monitor:
        wait_for(lambda: monitor.health.samples > 5)
        (agent,) = agents_of(os.getpid())
        agent.suspend()
        before = time.monotonic()
        for _ in range(20_000):  # more than a pipe holds
            with monitor.window("while stopped"):
                pass
        assert monitor.stats()["cpu_usage"]
        assert time.monotonic() - before < 10
        burn(0.3)
        agent.resume()
        seen = monitor.health.samples
        wait_for(lambda: monitor.health.samples > seen + 5)
    assert monitor.describe()["cpu_seconds"].total >= 0.3
    assert monitor.health.missed_ticks > 0
    assert monitor.failure == ""


def test_stop_gets_rid_of_a_stopped_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never hangs: it waits, then it kills, and says that the end is missing."""
    monkeypatch.setattr("heflwr.monitor.runners.process.STOP_SECONDS", 0.5)
    monitor = Monitor(runner="process", interval=0.05)
    monitor.start()
    wait_for(lambda: monitor.health.samples)
    (agent,) = agents_of(os.getpid())
    agent.suspend()
    before = time.monotonic()
    monitor.stop()
    assert time.monotonic() - before < 10
    assert "did not end in time" in monitor.failure
    assert not agent.is_running()


@both
def test_a_stopped_training_process_is_seen_at_rest(runner: str, tmp_path: Path) -> None:
    """SIGSTOP of the watched process: with an agent samples go on and show no CPU; totals are whole after SIGCONT."""
    code = f"""
    with Monitor([FileSink("log.jsonl", format="jsonl")], runner={runner!r}, interval=0.02) as monitor:
        burn(0.2)
        print("ready", flush=True)
        sys.stdin.readline()
        burn(0.2)
    print(json.dumps([monitor.describe()["cpu_seconds"].total, monitor.failure]), flush=True)
    """
    with workload(tmp_path, code) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        filed = len(records(tmp_path / "log.jsonl"))
        if runner == "process":
            wait_for(lambda: len(records(tmp_path / "log.jsonl")) > filed + 10)
            assert max(float(str(row["cpu_usage"])) for row in records(tmp_path / "log.jsonl")[-5:]) < 5
        process.send_signal(signal.SIGCONT)
        process.stdin.write("go on\n")
        process.stdin.flush()
        used, failure = json.loads(process.stdout.readline())
        assert used == pytest.approx(0.4, abs=0.15)
        assert failure == ""


@both
def test_a_workload_that_forks_is_measured_with_its_children(runner: str) -> None:
    """os.fork in the workload: the children's time counts, and they do not disturb the sampling."""
    with Monitor(runner=runner, interval=0.05) as monitor:
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                burn(0.2)
                os._exit(0)
            os.waitpid(pid, 0)
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(0.6, abs=0.1)
    assert monitor.failure == ""


@both
def test_a_vanished_directory_is_counted_and_sampling_goes_on(runner: str, tmp_path: Path) -> None:
    """When it comes back, the file begins anew with a header of its own."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with Monitor([FileSink(folder / "log.jsonl", format="jsonl")], runner=runner, interval=0.02) as monitor:
        wait_for(lambda: monitor.health.samples > 3)
        shutil.rmtree(folder)
        wait_for(lambda: monitor.health.errors.get("FileSink"), what="a counted error")
        folder.mkdir()
        wait_for(lambda: (folder / "log.jsonl").exists() and len(records(folder / "log.jsonl")) > 3)
    first = json.loads((folder / "log.jsonl").read_text().splitlines()[0])
    assert first["type"] == "heflwr run"
    assert monitor.failure == ""
    assert "log.jsonl" in monitor.health.last_error
    assert len(monitor.stats()["cpu_usage"]) == monitor.health.samples


@both
def test_a_full_disk_is_counted_and_lines_stay_whole(runner: str, tmp_path: Path) -> None:
    """What met the end of the disk is taken back, and once there is room again, lines go on."""
    need_root("mounts a full disk (a tiny tmpfs)")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=True)
    try:
        (disk / "ballast").write_bytes(bytes(8192))
        with Monitor([FileSink(disk / "log.jsonl", format="jsonl")], runner=runner, interval=0.005) as monitor:
            wait_for(lambda: monitor.health.errors.get("FileSink", 0) > 3, what="a full disk")
            count = monitor.health.samples
            (disk / "ballast").unlink()
            wait_for(lambda: monitor.health.samples > count + 5)
        lines = (disk / "log.jsonl").read_text().splitlines()
        sequences = [json.loads(line).get("sequence", -1) for line in lines]
        assert sequences == sorted(set(sequences))
        assert max(sequences) > count
        assert monitor.failure == ""
    finally:
        subprocess.run(["umount", disk], check=True)


@both
def test_an_unwritable_file_is_told_at_start(runner: str, tmp_path: Path) -> None:
    """With the path, the reason and the way out; the monitor can be used again."""
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no" / "log.txt", "No such file or directory")):
        monitor = Monitor([FileSink(path)], runner=runner)
        with pytest.raises(SinkUnavailable, match=f"{path}.*{reason}.*another file"):
            monitor.start()
        monitor.stop()
        assert not monitor.health.is_running


@both
def test_exhausted_file_descriptors_do_not_end_the_run(runner: str, tmp_path: Path) -> None:
    """The workload opens all it may, then starts children that the monitor cannot look at; own numbers go on."""
    code = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    monitor = Monitor(runner={runner!r}, interval=0.02)
    monitor.start()
    pids = []
    hoard = []
    try:
        while True:
            hoard.append(open("/dev/null"))
    except OSError:
        pass
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    seen = monitor.health.samples
    burn(0.3)
    wait_for(lambda: monitor.health.samples > seen + 10)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    del hoard
    monitor.stop()
    print(json.dumps([monitor.failure, monitor.describe()["cpu_seconds"].total]), flush=True)
    """
    with workload(tmp_path, code) as process:
        out, err = process.communicate(timeout=60)
    assert out, err
    failure, used = json.loads(out)
    assert failure == ""
    assert used >= 0.29


@both
def test_any_character_in_an_identifier_keeps_lines_whole(runner: str, tmp_path: Path) -> None:
    """Unicode, newlines, quotes, percent signs and braces."""
    identifier = 'Zürich-β\nclient "7" %s {x} 💡'
    for format in ("text", "jsonl", "csv"):
        path = tmp_path / f"log.{format}"
        with Monitor([FileSink(path, format=format)], runner=runner, interval=0.05, identifier=identifier) as monitor:
            wait_for(lambda: monitor.health.samples)
        lines = path.read_text(encoding="utf-8").splitlines()
        header = json.loads(lines[0].removeprefix("# heflwr run "))
        assert identifier == header["identifier"]
        assert len(lines) == monitor.health.samples + (2 if format == "csv" else 1)


@both
def test_two_runs_in_one_file_do_not_mix(runner: str, tmp_path: Path) -> None:
    """Each begins with a header, and each sample names its run; a line torn by a killed writer is closed off."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"run": "of old", "sequence": 7, "ti')
    monitor = Monitor([FileSink(path, format="jsonl")], runner=runner, interval=0.02)
    for _ in range(2):
        with monitor:
            wait_for(lambda: monitor.health.samples > 2)
    rows = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    heads = [row for row in rows if row.get("type") == "heflwr run"]
    assert len(heads) == 2
    assert [head["run"] for head in heads] == list(dict.fromkeys(row["run"] for row in rows))


@both
def test_a_process_that_ends_while_watched_is_told(runner: str, tmp_path: Path) -> None:
    """Monitor(pid=...) of another process: its samples stay, failure names it, and stop() is harmless."""
    with workload(tmp_path, "burn(0.3)\nprint('burnt', flush=True)\nsys.stdin.readline()") as process:
        monitor = Monitor(runner=runner, interval=0.02, pid=process.pid)
        monitor.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "burnt\n"
        wait_for(lambda: monitor.describe()["cpu_seconds"].total > 0.2)
        process.kill()
        process.wait()
        wait_for(lambda: monitor.failure, what="the report of the end")
        monitor.stop()
        assert str(process.pid) in monitor.failure
        assert monitor.describe()["cpu_seconds"].total > 0.2


@both
def test_a_process_that_does_not_exist_cannot_be_watched(runner: str) -> None:
    """start() says so."""
    from heflwr.monitor import MonitorError

    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(MonitorError, match=f"no process {process.pid}"):
        Monitor(runner=runner, pid=process.pid).start()
