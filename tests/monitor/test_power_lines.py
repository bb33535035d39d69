"""tegrastats' lines, as real boards print them, and what we make of them."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path

import pytest
from tegrastats_replay import Replay

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.power.rails import BOARDS, COLUMNS, find_board, total
from heflwr.monitor.probes.power.tegrastats import parse

DATA = Path(__file__).parent / "data" / "tegrastats.txt"


def read_lines() -> list[tuple[str, str]]:
    """Return (heading, line) of every line in the data file."""
    lines: list[tuple[str, str]] = []
    heading = ""
    for row in DATA.read_text().splitlines():
        if row.startswith("## "):
            heading = row[3:].strip()
        elif row and not row.startswith("#"):
            lines.append((heading, row))
    return lines


LINES = read_lines()

EXPECTED = [
    ("TX1 |", None),
    ("TX2 | JetPack 4.x", (3140, 536 + 153, 536)),
    ("TX2 | L4T 28/32", (1876, 229 + 153, 383)),
    ("Nano | JetPack 4.6.1", (1750, 366 + 0, nan)),
    ("Nano | JetPack 4.x, no sudo", (2056, 161 + 40, nan)),
    ("Xavier NX | JetPack 5.1.2", (2763, 650, 650)),
    ("AGX Xavier | JetPack 4.x", (463 + 618 + 2936 + 0 + 309 + 3306, 463 + 618 + 0, 2936)),
    ("AGX Orin 64GB | JetPack 6", (1592 - 398 + 2624, 1592 - 398, nan)),
    ("Orin Nano 8GB | JetPack 5.1", (4915, 449, 1431)),
    ("Orin Nano 8GB | JetPack 6", (4824, 518, 1475)),
    ("Orin Nano | L4T R39", (9761, 4238, 1825)),
    ("AGX Thor |", (87426, 37528 + 18961, nan)),
]

CASES = [
    pytest.param(line, expected, id=heading.split(" | http")[0])
    for (heading, line), (_, expected) in zip(LINES, EXPECTED, strict=True)
]


def columns_of(line: str) -> tuple[float, ...] | None:
    rails = parse(line)
    board = find_board(rails)
    if board is None:
        return None
    chosen = board.choose(rails)
    return tuple(total(rails, chosen[column]) if column in chosen else nan for column in COLUMNS)


def same(expected: tuple[float, ...], actual: tuple[float, ...] | None) -> bool:
    return (
        actual is not None
        and len(actual) == len(expected)
        and all(a == e or (isnan(a) and isnan(e)) for a, e in zip(actual, expected, strict=True))
    )


def test_the_expectations_below_are_for_the_lines_of_the_data_file():
    """Every line of the file is tested, and against the numbers of its own board."""
    assert [prefix for prefix, _ in EXPECTED] == [
        heading[: len(prefix)] for (heading, _), (prefix, _) in zip(LINES, EXPECTED, strict=True)
    ]


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_a_line_of_every_board_gives_its_three_columns(line: str, expected: tuple[float, ...] | None):
    """Each board's rails become vdd_in, vdd_cpu_gpu_cv and vdd_soc by the table, NaN where it has no such rail."""
    actual = columns_of(line)
    if expected is None:
        assert actual is None
        assert parse(line) == {}
    else:
        assert same(expected, actual), actual


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_a_board_is_measured_end_to_end(
    line: str, expected: tuple[float, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same numbers come out of stats(), or start() says that the board shows no power."""
    Replay(tmp_path).install([line])
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monitor = Monitor(runner="thread", interval=0.1, machine=Machine("/proc", str(tmp_path / "sys")))
    monitor.set_metrics(power=True)
    if expected is None:
        with pytest.raises(SourceUnavailable, match="shows no power rail"):
            monitor.start()
        return
    with monitor:
        pass
    stats = monitor.stats()
    for column, value in zip(COLUMNS, expected, strict=True):
        values = stats[f"power_{column}"]
        assert (set(values) == {value}) if value == value else (values == []), (column, values)


@pytest.mark.parametrize(
    ("text", "rails"),
    [
        ("VDD_IN 4856/4900", {"VDD_IN": 4856}),
        ("VDD_IN 4856mW/4900mW", {"VDD_IN": 4856}),
        ("VDD_IN 4856mW/4900mW/5000mW", {"VDD_IN": 4856}),
        ("VDD_IN 4856/4900/5000", {"VDD_IN": 4856}),
        ("VDD_IN 4856mW", {"VDD_IN": 4856}),
        ("VDD_CPU_CV -398mW/-398mW", {"VDD_CPU_CV": -398}),
        ("VDD_CPU -4/12", {"VDD_CPU": -4}),
        ("VDD_SOC 10/10 NC 7/7 NC 8mW/8mW VDD_CPU 1/1", {"VDD_SOC": 10, "VDD_CPU": 1}),
        ("RAM 1923/3964MB SWAP 191/1982MB IRAM 0/252kB(lfb 252kB)", {}),
        ("RAM 1923/3964 SWAP 191/1982", {}),
        ("APE 150 MTS fg 0% bg 0% VIC_FREQ 115 EMC_FREQ 17%@40 GR3D_FREQ 33%@[114,114]", {}),
        ("GPU@30.5C CPU@31.5C soc2@47.937C/47.937C CV0@-256C CPU [0%@1190,off,off] GPU 463/470", {"GPU": 463}),
        ("", {}),
        ("VDD_IN /mW VDD_IN x/y VDD_IN 12V/13V", {}),
    ],
)
def test_only_rails_are_taken_for_rails(text: str, rails: dict[str, float]):
    """Every form of a rail is read, and nothing that merely looks like one."""
    assert parse(text) == rails


def test_a_column_needs_all_its_rails():
    """A total that lacks one of its rails is no total: its column has no value, the others keep theirs."""
    line = "VDD_IN 5000/5000 VDD_SYS_GPU 700/700 VDD_SYS_SOC 400/400"
    assert same((5000, nan, 400), columns_of(line))
    assert same((nan, 9, 5), columns_of("GPU 1/1 CPU 3/3 SOC 5/5 CV 5/5 VDDRQ 4/4"))


def test_thor_without_its_input_sensor_sums_the_rails_side_by_side():
    """Carrier boards without the INA238 still have a total."""
    line = "VDD_GPU 30mW/1mW VDD_CPU_SOC_MSS 20mW/1mW VIN_SYS_5V0 10mW/1mW"
    assert same((60, 50, nan), columns_of(line))


def test_agx_orin_counts_memory_once():
    """VDDQ_VDD2_1V8AO hangs on VIN_SYS_5V0: it is in the total already."""
    line = "VDD_GPU_SOC 100mW/1mW VDD_CPU_CV 10mW/1mW VIN_SYS_5V0 1000mW/1mW NC 5mW/5mW VDDQ_VDD2_1V8AO 400mW/1mW"
    assert same((1110, 110, nan), columns_of(line))


def test_every_board_of_the_table_is_found_by_its_own_rails():
    """No board is mistaken for another one, and each row says where it is from."""
    for board in BOARDS:
        found = find_board(board.rails)
        assert found is not None
        assert found.name == board.name
        assert board.source
