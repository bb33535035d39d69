"""The gpu group: load, memory and power of NVIDIA's GPUs, and what is said where there are none."""

from __future__ import annotations

import sys
from math import isnan

import pytest
from fake_nvml import FakeNvml, fake_nvml
from tegrastats_replay import wait_until

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.probes.gpu import GpuProbe


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Two GPUs."""
    library = fake_nvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def test_load_is_the_mean_and_memory_and_power_are_sums(nvml: FakeNvml):
    """In the metric table's order: percent, bytes, milliwatts."""
    nvml.usage, nvml.memory, nvml.power = [100, 50], [2**30, 2**20], [70_000, 30_500]
    probe = GpuProbe()
    assert probe.open() == "NVML GPU-0 + GPU-1"
    probe.start(0)
    assert probe.read(1) == (75.0, 2**30 + 2**20, 100_500)
    probe.close()
    assert nvml.opened == 0


def test_what_no_gpu_tells_is_missing(nvml: FakeNvml):
    """A question that a GPU does not answer is left out; one that none answers is NaN."""
    nvml.usage, nvml.memory, nvml.power = [None, 40], [None, None], [1, 2]
    probe = GpuProbe()
    probe.open()
    usage, memory, power = probe.read(0)
    assert usage == 40
    assert isnan(memory)
    assert power == 3


def test_gpus_that_tell_nothing_are_refused(nvml: FakeNvml):
    """Three columns of nothing would be a metric that is switched on and not there."""
    nvml.usage = nvml.memory = nvml.power = [None, None]
    with pytest.raises(SourceUnavailable, match="tells neither load nor memory nor power"):
        GpuProbe().open()
    assert nvml.opened == 0


def test_a_lost_gpu_is_counted_and_sampling_goes_on(nvml: FakeNvml):
    """The driver's words are in health; the other groups have their values."""
    monitor = Monitor(runner="thread", interval=0.02)
    monitor.set_metrics(gpu=True)
    with monitor:
        nvml.is_lost = True
        wait_until(lambda: monitor.health.errors.get("gpu", 0) >= 1)
    assert "GPU is lost" in monitor.health.last_error
    assert all(value == value for value in monitor.stats()["memory_usage"])
    assert nvml.opened == 0


def test_keys_appear_when_switched_on(nvml: FakeNvml):
    """The group adds its keys to stats() and summary()."""
    nvml.usage, nvml.memory, nvml.power = [10, 30], [5, 6], [100, 200]
    monitor = Monitor(runner="thread", interval=1)
    monitor.set_metrics(gpu=True)
    with monitor:
        pass
    assert set(monitor.stats()["gpu_usage"]) == {20.0}
    summary = monitor.summary()
    assert summary["avg_gpu_usage"] == pytest.approx(20)
    assert summary["avg_gpu_memory_bytes"] == pytest.approx(11)
    assert summary["avg_gpu_power"] == pytest.approx(300)


def test_without_the_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    """The extra to install is in the error."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SourceUnavailable, match=r"gpu: NVML: .*pip install heflwr\[nvml\]"):
        GpuProbe().open()


def test_without_a_driver_the_library_s_words_are_passed_on(nvml: FakeNvml):
    """No driver, or one that is not visible in a container."""
    nvml.driver_error = "NVML Shared Library Not Found"
    with pytest.raises(SourceUnavailable, match=r"gpu: NVML: NVML Shared Library Not Found; is NVIDIA's driver"):
        GpuProbe().open()


def test_a_driver_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    """And the library is given back."""
    library = fake_nvml(gpus=0)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    with pytest.raises(SourceUnavailable, match="gpu: NVML: the driver knows no GPU"):
        GpuProbe().open()
    assert library.opened == 0


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_the_real_library_answers_or_says_why_not(runner: str):
    """On a machine with a GPU the values are plausible; on one without, start() says what is missing."""
    pytest.importorskip("pynvml", reason="pip install heflwr[nvml]")
    monitor = Monitor(runner=runner, interval=0.1)
    monitor.set_metrics(gpu=True)
    try:
        monitor.start()
    except SourceUnavailable as error:
        assert str(error).startswith("gpu: NVML: ")  # noqa: PT017 - the other branch is the point of this test
        return
    monitor.stop()
    summary = monitor.summary()
    assert 0 <= summary["avg_gpu_usage"] <= 100
    assert summary["avg_gpu_memory_bytes"] > 0
    assert 1000 < summary["avg_gpu_power"] < 10_000_000
