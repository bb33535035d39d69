"""Where power comes from on a machine: sensor chips, RAPL, GPUs, the battery; in which order, and what if nothing."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from math import isnan, nan
from pathlib import Path

import pytest
from fake_nvml import fake_nvml
from machine_tree import Tree, unprivileged
from tegrastats_replay import Replay, wait_until

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.probes.power import PowerProbe

SECOND = 1_000_000_000
ORIN_NANO = {"VDD_IN": (5000, 1000), "VDD_CPU_GPU_CV": (5000, 300), "VDD_SOC": (5000, 200)}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """An empty sysfs, on a machine without tegrastats and without NVIDIA's library."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return Tree(tmp_path)


@pytest.fixture
def public_tree(tree: Tree) -> Iterator[Tree]:
    """A sysfs in a folder that every user may look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield Tree(folder)
    shutil.rmtree(folder)


def same(expected: tuple[float, ...], actual: tuple[float, ...]) -> bool:
    return len(actual) == len(expected) and all(
        (isnan(a) and isnan(e)) or a == pytest.approx(e) for a, e in zip(actual, expected, strict=True)
    )


@pytest.mark.parametrize("chip", ["hwmon", "iio"])
def test_sensor_chips_in_sysfs_are_read_under_both_drivers(chip: str, tree: Tree):
    """mV times mA, or ready made mW: the same power, and the trapezoid between two ticks."""

    def set_power(millivolts: int) -> None:
        rails = {rail: (millivolts, current) for rail, (_, current) in ORIN_NANO.items()}
        if chip == "hwmon":
            tree.hwmon("1-0040", rails)
        else:
            tree.iio("7-0040", {rail: volts * current // 1000 for rail, (volts, current) in rails.items()})

    set_power(5000)
    probe = PowerProbe(tree.machine, 1)
    assert probe.open() == ("INA3221 in sysfs: vdd_in = VDD_IN, vdd_cpu_gpu_cv = VDD_CPU_GPU_CV, vdd_soc = VDD_SOC")
    probe.start(10 * SECOND)
    set_power(7000)
    assert same((7000, 6000, 2100, 1800, 1400, 1200), probe.read(11 * SECOND))
    assert same((7000, 14000, 2100, 4200, 1400, 2800), probe.read(13 * SECOND))
    probe.close()


def test_agx_xavier_s_two_chips_make_one_total(tree: Tree):
    """Rails are found over all chips of the board, and channels that nothing is wired to are skipped."""
    tree.iio("1-0040", {"GPU": 1, "CPU": 20, "SOC": 300})
    tree.iio("1-0041", {"CV": 4000, "VDDRQ": 50000, "SYS5V": 600000})
    tree.iio("1-0042", {"NC": 10**9})
    probe = PowerProbe(tree.machine, 1)
    probe.open()
    probe.start(0)
    assert same((654321, 654321, 4021, 4021, 300, 300), probe.read(SECOND))


def test_thor_s_input_chip_is_the_total(tree: Tree):
    """The INA238 tells microwatts."""
    tree.hwmon("2-0040", {"VDD_GPU": (1000, 20), "VDD_CPU_SOC_MSS": (1000, 30), "VIN_SYS_5V0": (1000, 40)})
    tree.write("bus/i2c/drivers/ina238/2-0044/hwmon/hwmon7", {"power1_input": 123_000})
    probe = PowerProbe(tree.machine, 1)
    assert "vdd_in = VIN," in probe.open()
    probe.start(0)
    assert same((123, 123, 50, 50, nan, nan), probe.read(SECOND))


def test_a_board_without_a_rail_has_no_value_there(tree: Tree):
    """A Nano has nothing to tell of its SoC: NaN in samples, an empty list in stats(), 0 in summary()."""
    tree.iio("6-0040", {"POM_5V_IN": 2000, "POM_5V_GPU": 40, "POM_5V_CPU": 300})
    monitor = Monitor(runner="thread", interval=0.05, machine=tree.machine)
    monitor.set_metrics(power=True)
    with monitor:
        wait_until(lambda: len(monitor.stats()["power_vdd_in"]) >= 3)
    assert monitor.stats()["power_vdd_soc"] == []
    assert monitor.samples()[0]["energy_vdd_soc"] is None
    assert monitor.summary()["total_power_vdd_soc"] == 0
    elapsed = monitor.samples()[-1]["elapsed"]
    assert monitor.summary()["total_power_vdd_cpu_gpu_cv"] == pytest.approx(340 * elapsed, rel=0.01)


def test_a_channel_that_is_busy_leaves_no_hole_in_the_energy(tree: Tree):
    """A failed reading is NaN in its own columns; the next one joins the last."""
    chip = tree.hwmon("1-0040", ORIN_NANO)
    probe = PowerProbe(tree.machine, 1)
    probe.open()
    probe.start(0)
    (chip / "curr1_input").write_text("busy\n")
    first = probe.read(SECOND)
    assert isnan(first[0])
    assert first[2] == 1500
    (chip / "curr1_input").write_text("1000\n")
    second = probe.read(2 * SECOND)
    assert first[1] + second[1] == pytest.approx(10_000)


def test_chips_that_fail_altogether_are_an_error_and_no_energy_is_lost(tree: Tree):
    """A tick without any reading raises, which is counted; the next one brings the energy of both."""
    chip = tree.hwmon("1-0040", ORIN_NANO)
    probe = PowerProbe(tree.machine, 1)
    probe.open()
    probe.start(0)
    chip.rename(chip.with_name("gone"))
    with pytest.raises(OSError, match="_input"):
        probe.read(SECOND)
    chip.with_name("gone").rename(chip)
    assert same((5000, 10000, 1500, 3000, 1000, 2000), probe.read(2 * SECOND))


def test_energy_does_not_depend_on_a_long_interval(tree: Tree):
    """With an interval of an hour, a change of power in between is seen all the same, in this process or a child."""
    tree.hwmon("1-0040", ORIN_NANO)
    monitors = [Monitor(runner=runner, interval=3600, machine=tree.machine) for runner in ("thread", "process")]
    for monitor in monitors:
        monitor.set_metrics(power=True)
    start = time.monotonic()
    with monitors[0], monitors[1]:
        wait_until(lambda: time.monotonic() > start + 1.5)  # the readings at 1, 2, 3 and 4 s see 5, 25, 25 and 5 W
        tree.hwmon("1-0040", {rail: (25_000, current) for rail, (_, current) in ORIN_NANO.items()})
        wait_until(lambda: time.monotonic() > start + 3.5)
        tree.hwmon("1-0040", ORIN_NANO)
        wait_until(lambda: time.monotonic() > start + 4.5)
    for monitor in monitors:
        elapsed = monitor.samples()[-1]["elapsed"]
        assert monitor.summary()["total_power_vdd_in"] == pytest.approx(5000 * elapsed + 20_000 * 2, rel=0.1)


def test_sysfs_comes_before_tegrastats(tree: Tree, tmp_path: Path):
    """Where the sensors can be read directly, no child is started."""
    tree.hwmon("1-0040", ORIN_NANO)
    replay = Replay(tmp_path)
    replay.install(["VDD_IN 1/1"])
    probe = PowerProbe(tree.machine, 1)
    assert probe.open().startswith("INA3221")
    probe.close()
    assert replay.pids() == []


def test_tegrastats_stands_in_where_sysfs_cannot_be_read(tree: Tree, tmp_path: Path):
    """Sensors that refuse to be read do not end the search."""
    chip = tree.hwmon("1-0040", ORIN_NANO)
    for file in chip.glob("curr*_input"):
        file.unlink()
        file.mkdir()
    Replay(tmp_path).install(["VDD_IN 1234/1"])
    probe = PowerProbe(tree.machine, 1)
    assert probe.open() == "tegrastats every 1 s: vdd_in = VDD_IN"
    probe.start(time.monotonic_ns())
    assert probe.read(time.monotonic_ns())[0] == 1234
    probe.close()


def test_sensors_for_root_only_are_said_so(public_tree: Tree):
    """The file and the system's reason are in the error."""
    chip = public_tree.hwmon("1-0040", ORIN_NANO)
    for file in chip.glob("curr*_input"):
        file.chmod(0)
    probe = PowerProbe(public_tree.machine, 1)
    with (
        unprivileged(),
        pytest.raises(SourceUnavailable, match=r"INA3221: cannot read .*curr1_input: Permission denied"),
    ):
        probe.open()


def test_rapl_packages_are_summed_and_wrap(tree: Tree):
    """The packages' counters, unwrapped, are vdd_cpu_gpu_cv; psys is vdd_in; power is the mean in between."""
    tree.rapl("0", "package-0", 900_000, highest=1_000_000)
    tree.rapl("0:0", "core", 5)
    tree.rapl("1", "package-1", 0)
    tree.rapl("2", "psys", 0)
    probe = PowerProbe(tree.machine, 1)
    assert probe.open() == "vdd_in = RAPL psys, vdd_cpu_gpu_cv = RAPL packages"
    probe.start(0)
    tree.rapl("0", "package-0", 100_000, highest=1_000_000)  # 0.2 J, over the edge
    tree.rapl("1", "package-1", 3_800_000)
    tree.rapl("2", "psys", 10_000_000)
    assert same((5000, 10_000, 2000, 4000, nan, nan), probe.read(2 * SECOND))
    assert same((0, 0, 0, 0, nan, nan), probe.read(3 * SECOND))
    probe.close()


def test_gpus_are_added_to_the_packages(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """vdd_cpu_gpu_cv of a workstation is its processors and its GPUs together."""
    nvml = fake_nvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    tree.rapl("0", "package-0", 0)
    probe = PowerProbe(tree.machine, 1)
    assert probe.open() == "vdd_cpu_gpu_cv = RAPL packages + NVML GPUs"
    probe.start(0)
    tree.rapl("0", "package-0", 1_000_000)
    nvml.energy = [1500, 500]
    assert same((nan, nan, 3000, 3000, nan, nan), probe.read(SECOND))
    nvml.is_lost = True
    tree.rapl("0", "package-0", 2_000_000)
    with pytest.raises(OSError, match="GPU is lost"):
        probe.read(2 * SECOND)
    assert same((nan,) * 6, probe.read(3 * SECOND))
    nvml.is_lost = False
    assert probe.read(4 * SECOND)[3] == pytest.approx(1000)
    probe.close()
    assert nvml.opened == 0


def test_rapl_for_root_only_is_said_so(public_tree: Tree):
    """The commonest refusal names the file, the reason and the way out."""
    (public_tree.rapl("0", "package-0", 1) / "energy_uj").chmod(0)
    probe = PowerProbe(public_tree.machine, 1)
    with unprivileged(), pytest.raises(SourceUnavailable) as caught:
        probe.open()
    text = str(caught.value)
    assert "intel-rapl:0/energy_uj: Permission denied" in text
    assert "run as root" in text


BATTERIES = {
    "power": ({"power_now": 8_000_000}, {"power_now": 8_000_000}, 16_000),
    "current": (
        {"current_now": -800_000, "voltage_now": 10_000_000},
        {"current_now": -800_000, "voltage_now": 10_000_000},
        16_000,
    ),
    "energy": ({"energy_now": 50_000_000}, {"energy_now": 49_995_000}, 18_000),
    "charge": (
        {"charge_now": 5_000_000, "voltage_now": 10_000_000},
        {"charge_now": 4_999_500, "voltage_now": 10_000_000},
        18_000,
    ),
}


@pytest.mark.parametrize("way", BATTERIES)
def test_a_discharging_battery_is_the_whole_machine(way: str, tree: Tree):
    """By power or by what is left in it; a mouse's battery is not the machine's."""
    before, after, millijoules = BATTERIES[way]
    tree.battery("BAT0", status="Discharging", **before)
    tree.battery("mouse", status="Discharging", scope="Device", power_now=10**9)
    tree.write("class/power_supply/AC", {"type": "Mains", "online": 0})
    probe = PowerProbe(tree.machine, 1)
    assert probe.open() == "vdd_in = battery"
    probe.start(0)
    tree.battery("BAT0", status="Discharging", **after)
    assert same((millijoules / 2, millijoules, nan, nan, nan, nan), probe.read(2 * SECOND))


@pytest.mark.parametrize("way", BATTERIES)
def test_time_on_the_mains_has_no_battery_energy(way: str, tree: Tree):
    """While it charges nobody knows what the machine draws: no power, no energy, and no guess afterwards."""
    before, after, millijoules = BATTERIES[way]
    tree.battery("BAT0", status="Discharging", **before)
    probe = PowerProbe(tree.machine, 1)
    probe.open()
    probe.start(0)
    tree.battery("BAT0", status="Charging", **before)
    assert isnan(probe.read(1 * SECOND)[0])
    assert probe.read(1000 * SECOND)[1] == 0
    tree.battery("BAT0", status="Discharging", **before)
    assert probe.read(1001 * SECOND)[1] == 0
    tree.battery("BAT0", status="Discharging", **after)
    assert same((millijoules / 2, millijoules), probe.read(1003 * SECOND)[:2])


def test_a_charging_battery_is_refused_with_its_state(tree: Tree):
    """It could only tell when unplugged."""
    tree.battery("BAT0", status="Charging", power_now=1)
    with pytest.raises(SourceUnavailable, match=r"battery: .*BAT0 is Charging"):
        PowerProbe(tree.machine, 1).open()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_a_machine_without_any_source_says_so_at_start(runner: str, tree: Tree):
    """start() raises with everything that was looked for and why each was refused; nothing is left running."""
    monitor = Monitor(runner=runner, interval=1, machine=tree.machine)
    monitor.set_metrics(power=True)
    with pytest.raises(SourceUnavailable) as caught:
        monitor.start()
    lines = str(caught.value).splitlines()
    assert lines[0] == "power: this machine has no power source that can be read. Looked for:"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "  - INA3221",
        "  - tegrastats",
        "  - RAPL",
        "  - NVML",
        "  - battery",
    ]
    assert "not on PATH" in lines[2]
    assert str(tree.root) in lines[1]
    assert not monitor.health.is_running
    monitor.set_metrics(power=False)
    with monitor:
        pass


def test_a_system_without_sysfs_says_so(tree: Tree):
    """Windows and macOS have none of the files."""
    with pytest.raises(SourceUnavailable, match="this system has no sysfs"):
        PowerProbe(type(tree.machine)(None, None), 1).open()


def test_sensors_of_another_kind_of_board_are_named(tree: Tree):
    """A chip with rails that the table does not know is not guessed at."""
    tree.hwmon("1-0040", {"MAIN_12V": (1, 1)})
    with pytest.raises(SourceUnavailable, match="not known here: MAIN_12V"):
        PowerProbe(tree.machine, 1).open()


def test_importing_the_probe_loads_no_foreign_library():
    """NVIDIA's library is loaded when a probe that uses it is opened."""
    import subprocess

    program = "import sys, heflwr.monitor.probes.power, heflwr.monitor.probes.gpu, heflwr.monitor.probes.energy;"
    program += "print('pynvml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
