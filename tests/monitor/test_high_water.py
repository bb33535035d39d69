"""The peak of memory during a stay, however stays overlap."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heflwr.monitor.high_water import high_water

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is Linux's")

MIB = 1 << 20


def use(mib: int) -> None:
    """Have so much memory for a moment."""
    with mmap.mmap(-1, mib * MIB) as memory:
        for at in range(0, mib * MIB, 4096):
            memory[at] = 1


def test_overlapping_stays_know_the_peak_of_their_own_time() -> None:
    """Setting the peak back for one takes nothing from the other; only who was alone knows what was its own."""
    water = high_water()
    first = water.enter()
    use(64)
    second = water.enter()
    use(16)
    peak, rise = water.leave(second)
    assert peak - second.begun_bytes == pytest.approx(16 * MIB, abs=4 * MIB)
    assert rise is None
    peak, rise = water.leave(first)
    assert peak - first.begun_bytes == pytest.approx(64 * MIB, abs=4 * MIB)
    assert rise is None
    alone = water.enter()
    use(32)
    assert water.leave(alone)[1] == pytest.approx(32 * MIB, abs=4 * MIB)


def test_a_fork_has_a_peak_of_its_own() -> None:
    """The parent's files tell of the parent."""
    parent = high_water()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            stay = high_water().enter()
            use(48)
            rise = high_water().leave(stay)[1]
            code = 0 if high_water() is not parent and rise is not None and abs(rise - 48 * MIB) < 4 * MIB else 2
        finally:
            os._exit(code)
    assert 0 == os.waitpid(pid, 0)[1]


def test_nothing_is_written_into_a_file_that_got_the_same_number(tmp_path: Path) -> None:
    """A program may close every descriptor it does not know, and open files of its own."""
    code = f"""
import os
from heflwr.monitor.high_water import high_water
water = high_water()
os.closerange(3, 64)
mine = [os.open({str(tmp_path)!r} + f"/{{n}}", os.O_RDWR | os.O_CREAT) for n in range(8)]
try:
    water.enter()
except OSError as refused:
    print("refused")
del water
import heflwr.monitor.high_water as module
module._shared.clear()
for descriptor in mine:
    os.write(descriptor, b"mine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "refused\n", "") == (done.returncode, done.stdout, done.stderr)
    assert [b"mine"] * 8 == [(tmp_path / str(n)).read_bytes() for n in range(8)]
