"""The energy group: joules of CPU, GPU and the whole system, each from the source that this machine has."""

from __future__ import annotations

import sys
from math import isnan, nan
from pathlib import Path

import pytest
from fake_nvml import fake_nvml
from machine_tree import Tree
from tegrastats_replay import Replay, wait_until

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.probes.energy import EnergyProbe

SECOND = 1_000_000_000


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """An empty sysfs, on a machine without tegrastats and without NVIDIA's library."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return Tree(tmp_path)


def same(expected: tuple[float, ...], actual: tuple[float, ...]) -> bool:
    return len(actual) == len(expected) and all(
        (isnan(a) and isnan(e)) or a == pytest.approx(e) for a, e in zip(actual, expected, strict=True)
    )


def test_a_workstation_tells_cpu_gpu_and_platform(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """RAPL's packages, NVML's counters, RAPL's platform: joules since the previous sample, and each source is named."""
    nvml = fake_nvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    tree.rapl("0", "package-0", 0)
    tree.rapl("1", "psys", 0)
    tree.battery(status="Discharging", power_now=1)  # psys is the better one
    probe = EnergyProbe(tree.machine, 1)
    assert probe.open() == ("cpu: RAPL package-0 + psys; gpu: NVML GPU-0 + GPU-1; system: RAPL package-0 + psys")
    probe.start(0)
    tree.rapl("0", "package-0", 2_500_000)
    tree.rapl("1", "psys", 9_000_000)
    nvml.energy = [3000, 1000]
    assert same((2.5, 4.0, 9.0), probe.read(SECOND))
    assert same((0, 0, 0), probe.read(2 * SECOND))
    probe.close()
    assert nvml.opened == 0


def test_a_gpu_without_a_counter_is_integrated(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """Before Volta there is only power: the trapezoid over its readings."""
    nvml = fake_nvml(gpus=2)
    nvml.energy, nvml.power = [0, None], [10_000, 20_000]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    probe = EnergyProbe(tree.machine, 1)
    assert probe.open() == "cpu: none; gpu: NVML GPU-0 + GPU-1; system: none"
    probe.start(0)
    nvml.power = [20_000, 30_000]
    assert same((nan, 40.0, nan), probe.read(SECOND))


def test_one_source_that_fails_leaves_the_others_their_values(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """A lost GPU costs one tick, which is counted, not the CPU's energy; when it is back, nothing is missing."""
    nvml = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    tree.rapl("0", "package-0", 0)
    probe = EnergyProbe(tree.machine, 1)
    probe.open()
    probe.start(0)
    tree.rapl("0", "package-0", 1_000_000)
    nvml.energy, nvml.is_lost = [2000], True
    with pytest.raises(OSError, match="GPU is lost"):
        probe.read(SECOND)
    assert same((1.0, nan, nan), probe.read(2 * SECOND))
    nvml.is_lost = False
    assert same((0.0, 2.0, nan), probe.read(3 * SECOND))
    nvml.is_lost = True
    with pytest.raises(OSError, match="GPU is lost"):
        probe.read(4 * SECOND)


def test_one_source_that_fails_shows_in_health(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """Its beginning is an error of the group; the other source's joules are all there."""
    nvml = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    tree.rapl("0", "package-0", 0)
    monitor = Monitor(runner="thread", interval=0.02, machine=tree.machine)
    monitor.set_metrics(energy=True)
    with monitor:
        nvml.is_lost = True
        wait_until(lambda: "energy" in monitor.health.errors)
        tree.rapl("0", "package-0", 7_000_000)
    assert monitor.health.errors == {"energy": 1}
    assert "GPU is lost" in monitor.health.last_error
    assert monitor.summary()["total_energy_cpu_joules"] == pytest.approx(7)


@pytest.mark.parametrize("lacking", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetTotalEnergyConsumption"])
def test_an_old_library_of_nvidia_is_refused_or_done_without(lacking: str, tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """A function that it does not have yet ends neither the search nor the run."""
    nvml = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delattr(type(nvml), lacking)
    tree.rapl("0", "package-0", 0)
    probe = EnergyProbe(tree.machine, 1)
    has_gpu = lacking == "nvmlDeviceGetTotalEnergyConsumption"
    assert probe.open() == f"cpu: RAPL package-0; gpu: {'NVML GPU-0' if has_gpu else 'none'}; system: none"
    probe.close()
    assert nvml.opened == 0


@pytest.mark.parametrize("surprise", [KeyboardInterrupt, RuntimeError])
def test_what_was_opened_before_a_surprise_is_closed_or_used(
    surprise: type[BaseException], tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ctrl-C in the middle of the search ends tegrastats again; a driver's own trouble only refuses the driver."""

    def fail(_: object) -> None:
        raise surprise("in the driver")

    nvml = fake_nvml()
    monkeypatch.setattr(type(nvml), "nvmlInit", fail)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    replay = Replay(tmp_path)
    replay.install(["VDD_IN 5000mW/1mW"])
    probe = EnergyProbe(tree.machine, 1)
    if surprise is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            probe.open()
    else:
        assert probe.open() == "cpu: none; gpu: none; system: tegrastats every 1 s: vdd_in = VDD_IN"
        probe.close()
    assert len(replay.pids()) == 1
    assert not replay.is_running()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_power_and_energy_share_one_tegrastats(runner: str, tree: Tree, tmp_path: Path):
    """One long-lived child, whose every line both groups integrate."""
    replay = Replay(tmp_path)
    replay.install(["VDD_IN 5000mW/1mW VDD_CPU_GPU_CV 1mW/1mW VDD_SOC 1mW/1mW"])
    monitor = Monitor(runner=runner, interval=0.1, machine=tree.machine)
    monitor.set_metrics(power=True, energy=True)
    for starts in (1, 2):
        with monitor:
            wait_until(lambda: monitor.health.samples >= 4)
        assert len(replay.pids()) == starts
        assert not replay.is_running()
        last = monitor.samples()[-1]
        summary = monitor.summary()
        assert summary["total_energy_system_joules"] == pytest.approx(5 * last["elapsed"], rel=0.01)
        assert summary["total_power_vdd_in"] == pytest.approx(5000 * last["elapsed"], rel=0.01)
        assert monitor.health.errors == {}


def test_a_board_s_input_rail_is_the_system(tree: Tree):
    """On a Jetson by its sensors: the system's energy in joules, no other component."""
    tree.hwmon("1-0040", {"VDD_IN": (5000, 2000), "VDD_CPU_GPU_CV": (5000, 1), "VDD_SOC": (5000, 1)})
    probe = EnergyProbe(tree.machine, 1)
    assert probe.open().startswith("cpu: none; gpu: none; system: INA3221 in sysfs: vdd_in = VDD_IN")
    probe.start(0)
    assert same((nan, nan, 20.0), probe.read(2 * SECOND))


def test_a_laptop_s_battery_is_the_system(tree: Tree):
    """While it discharges."""
    tree.battery(status="Discharging", power_now=15_000_000)
    probe = EnergyProbe(tree.machine, 1)
    assert probe.open() == "cpu: none; gpu: none; system: battery, by power_now"
    probe.start(0)
    assert same((nan, nan, 30.0), probe.read(2 * SECOND))


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_tegrastats_end_to_end(runner: str, tree: Tree, tmp_path: Path):
    """summary() has the joules, health names the source, components without one have 0 and None."""
    replay = Replay(tmp_path)
    replay.install(["VDD_IN 5000mW/1mW VDD_CPU_GPU_CV 1mW/1mW VDD_SOC 1mW/1mW"])
    monitor = Monitor(runner=runner, interval=0.1, machine=tree.machine)
    monitor.set_metrics(energy=True)
    with monitor:
        wait_until(lambda: len(replay.written()) >= 8)
    last = monitor.samples()[-1]
    assert monitor.summary()["total_energy_system_joules"] == pytest.approx(5 * last["elapsed"], rel=0.01)
    assert monitor.summary()["total_energy_cpu_joules"] == 0
    assert last["energy_cpu_joules"] is None
    assert "system: tegrastats" in monitor.health.sources["energy"]
    assert not replay.is_running()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_without_any_source_start_names_all_of_them(runner: str, tree: Tree):
    """Everything that was looked for, and why it was refused."""
    monitor = Monitor(runner=runner, interval=1, machine=tree.machine)
    monitor.set_metrics(energy=True)
    with pytest.raises(SourceUnavailable) as caught:
        monitor.start()
    text = str(caught.value)
    assert text.startswith("energy: this machine has no energy source that can be read. Looked for:")
    for name in ("INA3221", "tegrastats", "RAPL", "NVML", "battery"):
        assert f"\n  - {name}:" in text
