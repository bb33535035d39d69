"""A stand-in for NVIDIA's library (module pynvml) on machines without a GPU: a few functions over settable numbers."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """What the library raises."""


class FakeNvml(ModuleType):
    """GPUs as numbers; None in a list stands for a GPU that does not answer that question."""

    NVMLError = NVMLError

    def __init__(self, gpus: int) -> None:
        super().__init__("pynvml")
        self.opened = 0
        self.is_lost = False
        self.driver_error = ""
        self.energy: list[int | None] = [0] * gpus  # mJ
        self.power: list[int | None] = [0] * gpus  # mW
        self.usage: list[int | None] = [0] * gpus  # %
        self.memory: list[int | None] = [0] * gpus  # bytes

    def nvmlInit(self) -> None:  # noqa: N802
        if self.driver_error:
            raise NVMLError(self.driver_error)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.energy)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, device: int) -> str:  # noqa: N802
        return f"GPU-{device}"

    def nvmlDeviceGetTotalEnergyConsumption(self, device: int) -> int:  # noqa: N802
        return self._answer(self.energy, device)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:  # noqa: N802
        return self._answer(self.power, device)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._answer(self.usage, device), memory=0)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=self._answer(self.memory, device))

    def _answer(self, values: list[int | None], device: int) -> int:
        value = values[device]
        if self.is_lost:
            raise NVMLError("GPU is lost")
        if value is None:
            raise NVMLError("Not Supported")
        return value


def fake_nvml(gpus: int = 1) -> FakeNvml:
    """Return a library with that many GPUs, idle."""
    return FakeNvml(gpus)
