"""Energy of x86 processors by their own counters (RAPL), through powercap: packages, and the platform where told.

The counters are readable by root only since Linux 5.10 (CVE-2020-8694), unless the administrator says otherwise.
"""

from __future__ import annotations

from glob import glob

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import CounterMeter, Meter
from heflwr.monitor.probes.power.sysfs import read_number, read_word, why

_DOMAINS = "class/powercap/intel-rapl:*"

PACKAGE = "package"
PLATFORM = "psys"


class _Domain:
    """One counter, unwrapped."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/energy_uj"
        self._range = read_number(f"{folder}/max_energy_range_uj")
        self._last = read_number(self._path)
        self._total = 0

    def read(self) -> int:
        """Return the energy since the first reading, microjoules. Raises OSError."""
        count = read_number(self._path)
        spent = count - self._last
        self._total += spent if spent >= 0 else spent + self._range
        self._last = count
        return self._total


class Rapl:
    """See `metering.Source`; its parts are "package" (all packages together) and "psys" (the platform)."""

    needs_polling = True

    def __init__(self, sys: str) -> None:
        """Remember where sysfs is."""
        self._sys = sys
        self.meters: dict[str, Meter] = {}

    def open(self) -> str:
        self._domains: dict[str, list[_Domain]] = {}
        names = []
        for folder in sorted(glob(f"{self._sys}/{_DOMAINS}")):
            try:
                name = read_word(f"{folder}/name")
                part = PACKAGE if name.startswith(PACKAGE) else name
                if part in (PACKAGE, PLATFORM):  # the others (core, uncore, dram) are parts of a package
                    self._domains.setdefault(part, []).append(_Domain(folder))
                    names.append(name)
            except OSError as error:
                raise SourceUnavailable(
                    f"RAPL: cannot read {folder}/energy_uj: {why(error)} (on most kernels for root only: run as root, "
                    "or have the administrator make it readable)"
                ) from error
        if not names:
            raise SourceUnavailable(f"RAPL: no {self._sys}/{_DOMAINS} of a package or the platform")
        self.meters = {part: CounterMeter() for part in self._domains}
        return f"RAPL {' + '.join(names)}"

    def poll(self, now_ns: int) -> None:
        for part, domains in self._domains.items():
            self.meters[part].add(now_ns, sum(domain.read() for domain in domains) * 1e-3)

    def close(self) -> None:
        """Nothing to give back: files are opened for each reading."""
