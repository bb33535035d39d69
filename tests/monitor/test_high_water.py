"""The peak of memory during a stay, however stays overlap."""

from __future__ import annotations

import mmap
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
    code = """
import mmap, os
from heflwr.monitor.high_water import high_water
parent = high_water()
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
assert high_water() is not parent
stay = high_water().enter()
with mmap.mmap(-1, 48 << 20) as memory:
    for at in range(0, 48 << 20, 4096):
        memory[at] = 1
assert abs(high_water().leave(stay)[1] - (48 << 20)) < 4 << 20
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


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


def test_a_stay_that_nobody_ends_is_over_when_nobody_holds_it() -> None:
    """What comes after it is alone again."""
    water = high_water()
    water.enter()
    alone = water.enter()
    use(32)
    assert water.leave(alone)[1] == pytest.approx(32 * MIB, abs=4 * MIB)
