"""Load, memory and power of NVIDIA's GPUs, as their driver tells them."""

from __future__ import annotations

from typing import Any

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.nvml import Nvml
from heflwr.monitor.sample import MISSING

_USAGE = "nvmlDeviceGetUtilizationRates"
_MEMORY = "nvmlDeviceGetMemoryInfo"
_POWER = "nvmlDeviceGetPowerUsage"


class GpuProbe:
    """Fills gpu_usage (mean over the GPUs), gpu_memory_bytes and gpu_power (sums); NaN for what none of them tells."""

    group = "gpu"

    def __init__(self) -> None:
        self._nvml = Nvml()

    def open(self) -> str:
        try:
            names = self._nvml.open()
        except SourceUnavailable as error:
            raise SourceUnavailable(f"gpu: {error}") from error
        # Old or partitioned (MIG) GPUs leave questions open; asking each time would fail each tick.
        self._devices: dict[str, list[Any]] = {
            question: [device for device in self._nvml.devices if self._nvml.can(question, device)]
            for question in (_USAGE, _MEMORY, _POWER)
        }
        if not any(self._devices.values()):
            self._nvml.close()
            raise SourceUnavailable(f"gpu: NVML: {', '.join(names)} tells neither load nor memory nor power")
        return f"NVML {' + '.join(names)}"

    def start(self, now_ns: int) -> None:
        """Nothing to count: all three are levels."""

    def read(self, now_ns: int) -> tuple[float, ...]:
        usage = [answer.gpu for answer in self._ask(_USAGE)]
        memory = [answer.used for answer in self._ask(_MEMORY)]
        power = self._ask(_POWER)
        return (
            sum(usage) / len(usage) if usage else MISSING,
            float(sum(memory)) if memory else MISSING,
            float(sum(power)) if power else MISSING,
        )

    def close(self) -> None:
        self._nvml.close()

    def _ask(self, question: str) -> list[Any]:
        return [self._nvml.ask(question, device) for device in self._devices[question]]
