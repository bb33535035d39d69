"""Reading back files of samples: every format, several runs, and everything that can have happened to a file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.cli.reading import read_log
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink

FORMATS = ["text", "jsonl", "csv"]
STARTED = 1_800_000_000.0
SHOWN = tuple(metric for metric in METRICS if metric.name in ("cpu_usage", "memory_bytes", "network_bytes_sent"))


def make_run(name: str) -> Run:
    return Run(identifier=f"client {name}", run=name, pid=1, started=STARTED, interval=1.0, metrics=SHOWN, host="here")


def make_sample(sequence: int, *values: float) -> Sample:
    return Sample(sequence, STARTED + sequence, float(sequence), values)


def write(path: Path, format: str, runs: dict[str, list[Sample]]) -> None:
    for name, samples in runs.items():
        sink = FileSink(path, format=format)
        sink.open(make_run(name))
        for sample in samples:
            sink.write(sample)
        sink.close()


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_written_is_read(format: str, tmp_path: Path) -> None:
    """Header, times and values come back, a missing value as NaN."""
    path = tmp_path / "log"
    write(path, format, {"aa": [make_sample(1, 12.5, 1000, 7), make_sample(2, math.nan, 2000, 8)]})
    log = read_log(path)
    (run,) = log.runs
    assert ("aa", "client aa", 0) == (run.run, run.identifier, log.bad_lines)
    assert run.started is not None
    assert STARTED == run.started.timestamp()
    assert [1.0, 2.0] == pytest.approx(run.elapsed, abs=0.001)
    assert [12.5] == run.columns["cpu_usage"][:1]
    assert math.isnan(run.columns["cpu_usage"][1])
    assert [1000, 2000] == run.columns["memory_bytes"]
    assert [7, 8] == run.columns["network_bytes_sent"]


@pytest.mark.parametrize("format", FORMATS)
def test_runs_in_one_file_are_told_apart(format: str, tmp_path: Path) -> None:
    """Each run has its own samples, in the file's order."""
    path = tmp_path / "log"
    write(path, format, {"aa": [make_sample(1, 1, 1, 1)], "bb": [make_sample(1, 2, 2, 2), make_sample(2, 3, 3, 3)]})
    first, second = read_log(path).runs
    assert ("aa", [1]) == (first.run, first.columns["cpu_usage"])
    assert ("bb", [2, 3]) == (second.run, second.columns["cpu_usage"])


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_runs_written_at_the_same_time_are_told_apart(format: str, tmp_path: Path) -> None:
    """Two monitors that take turns in one file are two runs all the same."""
    path = tmp_path / "log"
    sinks = {name: FileSink(path, format=format) for name in ("aa", "bb")}
    for name, sink in sinks.items():
        sink.open(make_run(name))
    for sequence in range(3):
        for index, sink in enumerate(sinks.values()):
            sink.write(make_sample(sequence, 10 * index + sequence, 0, 0))
    for sink in sinks.values():
        sink.close()
    log = read_log(path)
    assert {"aa": [0, 1, 2], "bb": [10, 11, 12]} == {run.run: run.columns["cpu_usage"] for run in log.runs}
    assert 0 == log.bad_lines


@pytest.mark.parametrize("format", FORMATS)
def test_torn_and_foreign_lines_are_counted_and_left_out(format: str, tmp_path: Path) -> None:
    """A line cut short, one of somebody else and a last one without an end cost themselves, nothing more."""
    path = tmp_path / "log"
    write(path, format, {"aa": [make_sample(k, k, k, k) for k in range(4)]})
    lines = path.read_text().splitlines(keepends=True)
    torn = lines[-3][: len(lines[-3]) // 2] + "\n"
    path.write_text("".join([*lines[:-3], torn, "hello from print()\n", "\n", "{]\n", *lines[-2:]]).removesuffix("\n"))
    log = read_log(path)
    assert [0, 2] == log.runs[0].columns["cpu_usage"]
    assert 4 == log.bad_lines


def test_samples_whose_header_is_lost_are_still_read_where_they_name_their_values(tmp_path: Path) -> None:
    """A JSON line says everything itself."""
    path = tmp_path / "log"
    write(path, "jsonl", {"aa": [make_sample(1, 5, 6, 7)]})
    path.write_text(path.read_text().partition("\n")[2])
    (run,) = read_log(path).runs
    assert ("aa", "", None, [5]) == (run.run, run.identifier, run.started, run.columns["cpu_usage"])


def test_a_file_begun_anew_in_the_middle_of_a_run_is_one_run(tmp_path: Path) -> None:
    """The second header of a run, written when its file had been deleted, opens no second run."""
    path = tmp_path / "log"
    write(path, "jsonl", {"aa": [make_sample(1, 1, 1, 1)]})
    write(path, "jsonl", {"aa": [make_sample(2, 2, 2, 2)]})
    (run,) = read_log(path).runs
    assert [1, 2] == run.columns["cpu_usage"]


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_makes_reading_fail(
    format: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes are lost, changed or added, reading returns, and every column is as long as the times."""
    path = tmp_path_factory.mktemp("damage") / "log"
    write(path, format, {"aa": [make_sample(k, k, k, k) for k in range(5)], "bb": [make_sample(1, 1, 1, 1)]})
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 80)))
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=20)) + content[end:])
    for run in read_log(path).runs:
        assert {len(run.elapsed)} | {len(column) for column in run.columns.values()} == {len(run.elapsed)}


@pytest.mark.parametrize(
    "line",
    [
        "[1, 2]",
        "null",
        '{"run": "aa"}',
        '{"run": "aa", "elapsed": "x", "cpu_usage": 1}',
        '{"run": "aa", "elapsed": 1, "cpu_usage": {}}',
        '{"type": "heflwr run"}',
        '{"type": "heflwr run", "run": "aa", "units": 5}',
        "# heflwr run []",
        "# heflwr run {",
        "aa,1",
        "2026-01-01T00:00:00+00:00  cpu_usage 5 %",
    ],
)
def test_lines_of_the_wrong_shape_are_counted(line: str, tmp_path: Path) -> None:
    """A line that almost looks like ours is one bad line and no sample."""
    path = tmp_path / "log"
    path.write_text(line + "\n")
    log = read_log(path)
    assert 1 == log.bad_lines
    assert not any(run.elapsed for run in log.runs)
