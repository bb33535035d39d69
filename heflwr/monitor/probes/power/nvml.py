"""NVIDIA's GPUs through their driver's library: the only place that knows pynvml."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import CounterMeter, LevelMeter, Meter

GPU = "gpu"

_UPGRADE = "pip install --upgrade nvidia-ml-py"


class NvmlFailed(OSError):
    """The driver would not answer."""


class Nvml:
    """The driver's library, opened, and a handle a GPU."""

    def __init__(self) -> None:
        self._library: Any = None
        self.devices: list[Any] = []

    def open(self) -> list[str]:
        """Load the library and return the GPUs' names.

        Raises:
            SourceUnavailable: No package, no driver or no GPU.
        """
        try:
            import pynvml
        except ImportError as error:
            raise SourceUnavailable(
                "NVML: the Python package nvidia-ml-py is not installed; pip install heflwr[nvml]"
            ) from error
        try:
            pynvml.nvmlInit()
        except AttributeError as error:
            raise SourceUnavailable(f"NVML: {error}; {_UPGRADE}") from error
        except pynvml.NVMLError as error:
            raise SourceUnavailable(f"NVML: {error}; is NVIDIA's driver installed, and visible in here?") from error
        self._library = pynvml
        try:
            self.devices = [
                self.ask("nvmlDeviceGetHandleByIndex", index) for index in range(self.ask("nvmlDeviceGetCount"))
            ]
            names = [str(self.ask("nvmlDeviceGetName", device)) for device in self.devices]
        except NvmlFailed as error:
            self.close()
            raise SourceUnavailable(f"NVML: {error}") from error
        if not names:
            self.close()
            raise SourceUnavailable("NVML: the driver knows no GPU")
        return names

    def ask(self, question: str, *arguments: Any) -> Any:
        """Call a function of the library. Raises NvmlFailed."""
        function = getattr(self._library, question, None)
        if function is None:
            raise NvmlFailed(f"{question}: the installed pynvml does not have it; {_UPGRADE}")
        try:
            return function(*arguments)
        except self._library.NVMLError as error:
            raise NvmlFailed(f"{question}: {error}") from error

    def can(self, question: str, device: Any) -> bool:
        """Return whether a GPU answers this question."""
        try:
            self.ask(question, device)
        except NvmlFailed:
            return False
        return True

    def close(self) -> None:
        """Give the library back; others in this process may hold it too (it counts)."""
        if self._library is not None:
            with suppress(NvmlFailed):  # lost already
                self.ask("nvmlShutdown")
            self._library = None
        self.devices = []


class GpuEnergy:
    """See `metering.Source`; its one part is "gpu" (all of them together).

    Reads the driver's energy counter where every GPU has one (since Volta), else integrates the power.
    """

    needs_polling = True

    def __init__(self) -> None:
        self._nvml = Nvml()
        self.meters: dict[str, Meter] = {}

    def open(self) -> str:
        names = self._nvml.open()
        ways: tuple[tuple[str, Meter], ...] = (
            ("nvmlDeviceGetTotalEnergyConsumption", CounterMeter()),  # mJ
            ("nvmlDeviceGetPowerUsage", LevelMeter()),  # mW
        )
        for question, meter in ways:
            if all(self._nvml.can(question, device) for device in self._nvml.devices):
                self._question = question
                self._meter = meter
                self.meters = {GPU: meter}
                return f"NVML {' + '.join(names)}"
        self._nvml.close()
        raise SourceUnavailable(f"NVML: {', '.join(names)}: not every one tells its energy or power")

    def poll(self, now_ns: int) -> None:
        readings = [self._nvml.ask(self._question, device) for device in self._nvml.devices]
        self._meter.add(now_ns, float(sum(readings)))

    def close(self) -> None:
        self._nvml.close()
