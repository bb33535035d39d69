"""Power through a tegrastats on PATH: numbers, energy, faults and the end of the child, for both runners."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tegrastats_replay import Replay, wait_until

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.probes.machine import Machine

ROOT = Path(__file__).parents[2]
RUNNERS = ("thread", "process")
COLUMNS = ("vdd_in", "vdd_cpu_gpu_cv", "vdd_soc")
SHARE = {"vdd_in": 1.0, "vdd_cpu_gpu_cv": 0.5, "vdd_soc": 0.25}

RAM = "RAM 3452/7620MB (lfb 25x4MB) CPU [1%@1420,off] GR3D_FREQ 0% cpu@50.031C"


def line_of(milliwatts: float) -> str:
    """Return a line of an Orin Nano."""
    rails = (("VDD_IN", 1.0), ("VDD_CPU_GPU_CV", 0.5), ("VDD_SOC", 0.25))
    return f"{RAM} " + " ".join(f"{rail} {milliwatts * share:.0f}mW/1mW" for rail, share in rails)


def trace_of(lines: int) -> list[float]:
    """Return a sawtooth on a ramp, mW, that is level at both ends: there a late line must not decide the test."""
    saw = [2000.0 + 8000 * (k % 2) + 100 * k for k in range(lines - 4)]
    return [saw[0], *saw, *[saw[-1]] * 100]


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """A folder at the head of PATH; its tegrastats is yet to be installed."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Replay(tmp_path)


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    """Both runners."""
    return str(request.param)


def build(runner: str, interval: float, folder: Path) -> Monitor:
    """Return a monitor of power alone, on a machine without sensors in sysfs."""
    monitor = Monitor(runner=runner, interval=interval, machine=Machine("/proc", str(folder / "sys")))
    monitor.set_metrics(cpu=False, memory=False, network=False, power=True)
    return monitor


def true_energy(readings: list[tuple[int, float]], start_ns: float, stop_ns: float) -> float:
    """Return the trapezoid of (time, mW) from start to stop, mJ; before the first and behind the last, levels hold."""
    points = [(float("-inf"), readings[0][1]), *readings, (float("inf"), readings[-1][1])]
    energy = 0.0
    for (a_ns, a), (b_ns, b) in itertools.pairwise(points):
        lower, upper = max(a_ns, start_ns), min(b_ns, stop_ns)
        if lower < upper:
            if a == b:
                energy += a * (upper - lower) * 1e-9
            else:
                slope = (b - a) / (b_ns - a_ns)
                energy += (a + slope * (0.5 * (lower + upper) - a_ns)) * (upper - lower) * 1e-9
    return energy


@pytest.mark.parametrize(
    ("runner", "interval", "lines"),
    [("thread", 0.05, 25), ("process", 0.05, 25), ("thread", 0.3, 11), ("process", 2, 7)],
)
def test_energy_is_the_trace_s_own_whatever_the_interval(
    runner: str, interval: float, lines: int, replay: Replay, tmp_path: Path
):
    """summary() holds the trapezoid over every line, also over those between two samples, within 1 %."""
    trace = trace_of(lines)
    replay.install([line_of(power) for power in trace])
    monitor = build(runner, interval, tmp_path)
    with monitor:
        wait_until(lambda: len(replay.written()) >= lines)
    last = monitor.samples()[-1]
    stop_ns = (last["time"] + time.monotonic() - time.time()) * 1e9
    start_ns = stop_ns - last["elapsed"] * 1e9
    readings = [(stamp, trace[number]) for stamp, number, _ in replay.written()]
    truth = true_energy(readings, start_ns, stop_ns)
    summary = monitor.summary()
    for column, share in SHARE.items():
        assert summary[f"total_power_{column}"] == pytest.approx(share * truth, rel=0.01)
    assert {seconds for _, _, seconds in replay.written()} == {min(1.0, max(0.1, interval))}
    assert monitor.health.errors == {}
    for every_other in (readings[::2], readings[1::2]):  # who skips lines gets this trace wrong
        assert true_energy(every_other, start_ns, stop_ns) != pytest.approx(truth, rel=0.05)


def test_levels_are_the_latest_line(runner: str, replay: Replay, tmp_path: Path):
    """stats() holds what the rails showed, one value a sample, from the first sample on."""
    replay.install([line_of(4000)])
    monitor = build(runner, 0.1, tmp_path)
    with monitor:
        wait_until(lambda: len(monitor.stats()["power_vdd_in"]) >= 3)
    stats = monitor.stats()
    assert set(stats["power_vdd_in"]) == {4000.0}
    assert set(stats["power_vdd_cpu_gpu_cv"]) == {2000.0}
    assert set(stats["power_vdd_soc"]) == {1000.0}
    assert "VDD_CPU_GPU_CV" in monitor.health.sources["power"]


def test_a_short_run_has_energy_too(runner: str, replay: Replay, tmp_path: Path):
    """A run that ends before the next line is billed at the level that it began with."""
    replay.install([line_of(4000)])
    monitor = build(runner, 5, tmp_path)
    with monitor:
        pass
    elapsed = monitor.samples()[-1]["elapsed"]
    assert monitor.summary()["total_power_vdd_in"] == pytest.approx(4000 * elapsed, rel=0.05)


def test_a_line_without_the_rail_breaks_nothing(replay: Replay, tmp_path: Path):
    """A gap in between neither ends the integral nor leaves a hole in it."""
    replay.install([line_of(4000), RAM, f"{RAM} VDD_SOC 1000mW/1mW"])
    monitor = build("thread", 0.1, tmp_path)
    with monitor:
        wait_until(lambda: len(replay.written()) >= 10)
    elapsed = monitor.samples()[-1]["elapsed"]
    assert monitor.summary()["total_power_vdd_in"] == pytest.approx(4000 * elapsed, rel=0.01)
    assert monitor.summary()["total_power_vdd_soc"] == pytest.approx(1000 * elapsed, rel=0.01)


def test_a_negative_rail_is_told_but_adds_no_energy(replay: Replay, tmp_path: Path):
    """A current sensor that is off by a little at rest does not make energy flow backwards."""
    replay.install(["VDD_GPU_SOC 100mW/1mW VDD_CPU_CV -398mW/-398mW VIN_SYS_5V0 2000mW/1mW"])
    monitor = build("thread", 0.1, tmp_path)
    with monitor:
        wait_until(lambda: len(replay.written()) >= 4)
    assert set(monitor.stats()["power_vdd_cpu_gpu_cv"]) == {-298.0}
    assert monitor.summary()["total_power_vdd_cpu_gpu_cv"] == 0.0
    assert set(monitor.stats()["power_vdd_in"]) == {1702.0}


def test_one_child_serves_the_whole_run_and_ends_with_it(runner: str, replay: Replay, tmp_path: Path):
    """tegrastats is started once, and is gone when stop() returns; a second run has one of its own."""
    replay.install([line_of(4000)])
    monitor = build(runner, 0.1, tmp_path)
    for run in (1, 2):
        with monitor:
            wait_until(lambda: len(monitor.stats()["power_vdd_in"]) >= 4)
        assert not replay.is_running()
        assert len(replay.pids()) == run


@pytest.mark.parametrize(
    ("lines", "ending", "text"),
    [
        ([RAM], {}, "shows no power rail .*root.*RAM 3452"),
        ([RAM], {"after": 1, "code": 3, "complaint": "please be root"}, "ended with code 3; it said 'please be root'"),
        ([], {"after": 0, "code": 0}, "ended with code 0"),
        ([], {"after": 0}, "printed nothing within"),
        (["RAM 1/2MB VDD_MOON 5mW/5mW"], {}, "not known here: VDD_MOON"),
    ],
    ids=["no rails", "dies with a reason", "dies", "hangs", "unknown board"],
)
def test_a_tegrastats_without_power_is_refused_at_start(
    runner: str,
    lines: list[str],
    ending: dict[str, object],
    text: str,
    replay: Replay,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    """start() raises with the reason, leaves no child behind, and nothing of the child's reaches the screen."""
    replay.install(lines, **ending)
    with pytest.raises(SourceUnavailable, match=f"tegrastats: .*{text}"):
        build(runner, 0.1, tmp_path).start()
    wait_until(lambda: not replay.is_running())
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_file_that_cannot_run_is_refused_at_start(runner: str, replay: Replay, tmp_path: Path):
    """A tegrastats that the system will not start is named with the system's reason."""
    (tmp_path / "tegrastats").write_bytes(b"\x7fELF not for this machine")
    (tmp_path / "tegrastats").chmod(0o755)
    with pytest.raises(SourceUnavailable, match=r"tegrastats: cannot start .*format"):
        build(runner, 0.1, tmp_path).start()


def test_a_child_that_dies_later_is_counted_not_waited_for(runner: str, replay: Replay, tmp_path: Path):
    """Samples go on without power, the error is counted and named, and what was measured before stands."""
    replay.install([line_of(4000)], after=4, code=7)
    monitor = build(runner, 0.05, tmp_path)
    with monitor:
        wait_until(lambda: monitor.health.errors.get("power", 0) >= 3)
        assert monitor.health.is_complete
    assert "tegrastats ended with code 7" in monitor.health.last_error
    levels = monitor.stats()["power_vdd_in"]
    assert 4000.0 in levels
    assert any(level != level for level in levels)
    assert monitor.summary()["total_power_vdd_in"] > 4000 * 0.2


def test_a_child_that_falls_silent_is_counted_not_waited_for(replay: Replay, tmp_path: Path):
    """A last line does not stand for ever: after some seconds without a next one, reads fail and say so."""
    replay.install([line_of(4000)], after=2)
    monitors = [build(runner, 0.1, tmp_path) for runner in RUNNERS]
    with monitors[0], monitors[1]:
        wait_until(lambda: all(monitor.health.errors.get("power", 0) >= 1 for monitor in monitors))
        before = time.monotonic()
    assert time.monotonic() - before < 5
    for monitor in monitors:
        assert "printed no power for" in monitor.health.last_error
    assert 2 == len(replay.pids())
    assert not replay.is_running()


def test_a_killed_process_leaves_no_tegrastats(runner: str, replay: Replay, tmp_path: Path):
    """Also when nobody is left to end it, the child is gone soon: its pipe has no reader."""
    replay.install([line_of(4000)])
    program = (
        "import sys, time\n"
        "from heflwr.monitor.monitor import Monitor\n"
        "from heflwr.monitor.probes.machine import Machine\n"
        f"monitor = Monitor(runner={runner!r}, interval=0.1, machine=Machine('/proc', {str(tmp_path / 'sys')!r}))\n"
        "monitor.set_metrics(power=True)\n"
        "monitor.start()\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        assert replay.is_running()
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: not replay.is_running())


def test_a_killed_agent_leaves_no_tegrastats(replay: Replay, tmp_path: Path):
    """The same where the sampling child is killed; the run says that it ended early."""
    replay.install([line_of(4000)])
    monitor = build("process", 0.1, tmp_path)
    with monitor:
        agent = psutil.Process(replay.pids()[0]).parent()
        assert agent is not None
        agent.kill()
        wait_until(lambda: bool(monitor.failure))
        wait_until(lambda: not replay.is_running())


def test_the_group_is_off_by_default(replay: Replay, tmp_path: Path):
    """Without set_metrics(power=True) no tegrastats is started, and the power lists are empty."""
    replay.install([line_of(4000)])
    with Monitor(runner="thread", interval=0.1, machine=Machine("/proc", str(tmp_path / "sys"))) as monitor:
        pass
    assert replay.pids() == []
    assert monitor.stats()["power_vdd_in"] == []
