"""The loop under a clock that the test turns: schedule, missed ticks, clock jumps."""

from __future__ import annotations

import dataclasses
import os

from heflwr.monitor.metrics import GROUPS
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import STOP, Inbox, Sampling

PLAN = Plan(
    pid=os.getpid(),
    interval=1.0,
    groups={**GROUPS, "network": False},
    sinks=(),
    identifier="test",
    run="0",
    network="host",
    interfaces=None,
    loopback=False,
    relative_to="machine",
    machine=Machine.here(),
)


class TurnedClock:
    """A clock that moves when the inbox waits."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000
        self.offset = 1_700_000_000.0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.offset + self.now_ns * 1e-9


class TurningInbox(Inbox):
    """Waits by turning the clock; after `waits` waits it says STOP. `late` adds a delay to one of them."""

    def __init__(self, clock: TurnedClock, waits: int, late: dict[int, float] | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.waits = waits
        self.late = late or {}
        self.count = 0

    def wait(self, seconds: float) -> tuple[str, int] | None:
        self.count += 1
        if self.count > self.waits:
            return STOP, 0
        self.clock.now_ns += round((seconds + self.late.get(self.count, 0.0)) * 1e9)
        if self.count == 4:
            self.clock.offset -= 3600  # somebody sets the wall clock back an hour
        return None


def run(plan: Plan, waits: int, late: dict[int, float] | None = None) -> tuple[list[Sample], Sampling]:
    clock = TurnedClock()
    samples: list[Sample] = []
    sampling = Sampling(plan, lambda sample, mark: samples.append(sample), clock)
    sampling.open()
    sampling.run(TurningInbox(clock, waits, late), on_sync=lambda token: None)
    sampling.close()
    return samples, sampling


def test_ticks_keep_a_schedule() -> None:
    """The first at once, then one a whole interval after start(), and the last at stop."""
    samples, sampling = run(PLAN, 5)
    assert [0.02, 1.0, 2.0, 3.0, 4.0, 4.0] == [round(sample.elapsed, 6) for sample in samples]
    assert sampling.report.missed_ticks == 0


def test_a_late_tick_does_not_move_the_next_ones() -> None:
    """Jitter does not add up."""
    samples, _ = run(PLAN, 6, late={3: 0.4, 4: 0.3})
    assert [0.02, 1.0, 2.4, 3.3, 4.0, 5.0, 5.0] == [round(sample.elapsed, 6) for sample in samples]


def test_ticks_that_could_not_be_kept_are_counted_not_made_up_for() -> None:
    """After 3.7 s of nothing (a stopped process, a sleeping laptop) the schedule goes on where it would be."""
    samples, sampling = run(PLAN, 5, late={3: 3.7})
    assert [0.02, 1.0, 5.7, 6.0, 7.0, 7.0] == [round(sample.elapsed, 6) for sample in samples]
    assert sampling.report.missed_ticks == 3


def test_a_wall_clock_set_back_moves_stamps_not_durations() -> None:
    """Unix time jumps with the machine; elapsed, and with it every mean and integral, does not."""
    samples, _ = run(PLAN, 6)
    assert samples[4].time < samples[2].time
    elapsed = [sample.elapsed for sample in samples]
    assert elapsed == sorted(elapsed)


def test_a_run_without_any_metric_still_ticks() -> None:
    """All groups off: samples with no values."""
    samples, _ = run(dataclasses.replace(PLAN, groups=dict.fromkeys(GROUPS, False)), 3)
    assert [()] * 4 == [sample.values for sample in samples]
