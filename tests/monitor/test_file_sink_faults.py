"""FileSink where the file cannot be had in full: every row stands behind its header, and a last line is closed off."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import need_root
from waiting import wait_for

from heflwr.monitor import Monitor, SinkUnavailable
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink

COLUMNS = METRICS[:2]
NAMES = ",".join(["run", "sequence", "time", "elapsed", *(metric.name for metric in COLUMNS)])
RUN = Run("client", "r", 1, 1.7e9, 1.0, COLUMNS)


def sample(sequence: int) -> Sample:
    return Sample(sequence, 1.7e9 + sequence, float(sequence), (0.5, 2.0))


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 10], ids=["not begun", "in part"])
def test_a_file_begun_anew_on_a_full_disk_gets_its_header_once_there_is_room(size: int, tmp_path: Path) -> None:
    """Its rows have names: none is written before the whole header fitted."""
    path = tmp_path / "run.csv"
    sink = FileSink(path, format="csv")
    sink.open(RUN)
    sink.write(sample(0))
    path.unlink()
    with room(size):
        for sequence in (1, 2):
            with pytest.raises(OSError, match=r"File too large|bytes fitted"):
                sink.write(sample(sequence))
    sink.write(sample(3))
    sink.close()
    comment, names, row = path.read_text().splitlines()  # and nothing of what fitted in part
    assert comment.startswith("# heflwr run {")
    assert names == NAMES
    assert row.startswith("r,3,")


def test_a_header_that_fits_in_part_is_told_with_the_reason(tmp_path: Path) -> None:
    """At open() a full disk reads as such, not as None."""
    with room(10), pytest.raises(SinkUnavailable, match=r"full, only 10 of [0-9]+ bytes fitted.*another file"):
        FileSink(tmp_path / "run.csv", format="csv").open(RUN)


def test_a_file_that_may_only_be_written_is_enough(tmp_path: Path) -> None:
    """Reading it is a courtesy to a torn last line, not a need."""
    need_root("becomes a user who may not read everything")
    path = tmp_path / "run.csv"
    path.touch()
    path.chmod(0o222)
    tmp_path.chmod(0o711)
    script = f"""
        import os
        from heflwr.monitor.metrics import METRICS
        from heflwr.monitor.sample import Run, Sample
        from heflwr.monitor.sinks.file import FileSink
        os.chroot({os.fspath(tmp_path)!r})  # the way to it is the superuser's alone
        os.chdir("/")
        os.setuid(65534)
        try:
            open("/run.csv").close()
            raise SystemExit("this user may read it")
        except PermissionError:
            pass
        sink = FileSink("/run.csv", format="csv")
        sink.open(Run("client", "r", 1, 1.7e9, 1.0, METRICS[:2]))
        sink.write(Sample(0, 1.7e9, 0.0, (0.5, 2.0)))
        sink.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)
    assert path.read_text().splitlines()[1] == NAMES


def test_a_torn_last_line_is_closed_off(tmp_path: Path) -> None:
    """The header begins a line of its own, whatever the writer before left."""
    path = tmp_path / "run.csv"
    path.write_text("r,7,half a ro")
    sink = FileSink(path, format="csv")
    sink.open(RUN)
    sink.close()
    assert path.read_text().splitlines()[0::2] == ["r,7,half a ro", NAMES]


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_a_pipe_that_nobody_reads_does_not_hang(runner: str, tmp_path: Path) -> None:
    """Samples that it does not take are counted; start() and stop() return."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Monitor([FileSink(pipe)], runner=runner, interval=0.001) as monitor:
        wait_for(lambda: monitor.health.errors.get("FileSink"), what="a full pipe")
    assert monitor.failure == ""


def test_a_path_that_cannot_be_one_is_refused_at_the_door() -> None:
    """Not by the operating system, later."""
    with pytest.raises(ValueError, match="NUL"):
        FileSink("a\0b")
