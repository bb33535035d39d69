"""Which rails of a Jetson board make up vdd_in, vdd_cpu_gpu_cv and vdd_soc: one table for tegrastats and for sysfs.

vdd_in is the whole module: its input rail, or the sum of the rails that hang on the input side by side (a rail fed by
one that is summed already must not be added again). A rail that feeds the CPU, the GPU or the vision accelerators
belongs to vdd_cpu_gpu_cv, also where it feeds more than those and cannot be split. A rail that feeds the rest of the
chip and nothing else is vdd_soc. A board that has no such rail has no value there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from heflwr.monitor.sample import MISSING

COLUMNS = ("vdd_in", "vdd_cpu_gpu_cv", "vdd_soc")
"""What a board tells, in the metric table's order."""

NOT_CONNECTED = "NC"
"""Name of a sensor channel that nothing is wired to."""


@dataclass(frozen=True, slots=True)
class Board:
    """A family of boards with the same rails.

    Attributes:
        name: For people.
        vdd_in: Ways to get the total, best first; the rails of a way are summed.
        vdd_cpu_gpu_cv: Rails to sum; empty where there is none.
        vdd_soc: Rails to sum; empty where there is none.
        source: Where this is read.
    """

    name: str
    vdd_in: tuple[tuple[str, ...], ...]
    vdd_cpu_gpu_cv: tuple[str, ...]
    vdd_soc: tuple[str, ...]
    source: str

    @property
    def rails(self) -> frozenset[str]:
        """Every rail that some column reads."""
        return frozenset(rail for way in self.vdd_in for rail in way) | {*self.vdd_cpu_gpu_cv, *self.vdd_soc}

    def choose(self, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return which of the rails `names` to sum for each column; one that lacks any of its rails is left out."""
        chosen = {}
        for column, ways in zip(COLUMNS, (self.vdd_in, (self.vdd_cpu_gpu_cv,), (self.vdd_soc,)), strict=True):
            for way in ways:
                if column not in chosen and way and all(rail in names for rail in way):
                    chosen[column] = way
        return chosen


def total(rails: Mapping[str, float], chosen: tuple[str, ...]) -> float:
    """Return the sum of the chosen rails, mW; NaN where one of them has no value."""
    return sum(rails.get(rail, MISSING) for rail in chosen)


_ENERGYMON = "energymon, jetson/JetsonPowerRails.md and README.md"
_NVIDIA = "NVIDIA Jetson Linux Developer Guide, Platform Power and Performance"

BOARDS = (
    Board("TX1", (("VDD_IN",),), ("VDD_CPU", "VDD_GPU"), (), _ENERGYMON),
    Board("TX2, TX2i, TX2 4GB", (("VDD_IN",),), ("VDD_SYS_CPU", "VDD_SYS_GPU"), ("VDD_SYS_SOC",), _ENERGYMON),
    Board("TX2 NX", (("VDD_IN",),), ("VDD_CPU_GPU",), ("VDD_SOC",), _ENERGYMON),
    Board("Nano", (("POM_5V_IN",),), ("POM_5V_CPU", "POM_5V_GPU"), (), _ENERGYMON),
    Board(
        "Xavier NX, Orin Nano, Orin NX",
        (("VDD_IN",),),
        ("VDD_CPU_GPU_CV",),
        ("VDD_SOC",),
        f"{_ENERGYMON}; {_NVIDIA}",
    ),
    Board(
        "AGX Xavier",
        (("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),),
        ("GPU", "CPU", "CV"),
        ("SOC",),
        _ENERGYMON,
    ),
    Board(
        "AGX Orin",
        # VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0 and counted there
        (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),),
        ("VDD_GPU_SOC", "VDD_CPU_CV"),
        (),
        _NVIDIA,
    ),
    Board(
        "AGX Thor",
        (("VIN",), ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
        ("VDD_GPU", "VDD_CPU_SOC_MSS"),
        (),
        _NVIDIA,
    ),
)


def find_board(names: Collection[str]) -> Board | None:
    """Return the board that shares most rails with `names`, None where none shares any."""
    best = max(BOARDS, key=lambda board: len(board.rails.intersection(names)))
    return best if best.rails.intersection(names) else None


def describe(chosen: Mapping[str, tuple[str, ...]]) -> str:
    """Return in words which rails stand behind which column."""
    return ", ".join(f"{column} = {' + '.join(rails)}" for column, rails in chosen.items())
