"""CPU against truth by construction: what the kernel tells the workload of itself, by getrusage(2)."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest
from waiting import wait_for
from workloads import Worker, burn, cpu_used

from heflwr.monitor import Monitor
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import AGENT_MARK

CORES = os.cpu_count() or 1
POINTS = 4.0 / CORES
"""Percentage points of the machine that a mean may be off: 2 on two cores, the same CPU time on others."""

WORTH = 0.1
"""CPU seconds that a burn must really have got, on however busy a machine, for its test to say something."""

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
ROUNDING = 4 * TICK
"""Waited-for time comes as two numbers, each cut to whole ticks, at the start and at the end."""

OURS = 0.05
"""CPU seconds that the test itself, and starting and stopping a monitor, may add outside of what is counted."""


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


def _usage(monitor: Monitor, cpu_seconds: float) -> tuple[float, float]:
    """Return measured and true mean use, percent of the machine."""
    wall = monitor.samples()[-1]["elapsed"]
    assert wall is not None
    return monitor.summary()["avg_cpu_usage"], 100.0 * cpu_seconds / wall / CORES


def _looked(monitor: Monitor) -> float:
    """Have a sample taken; return the CPU seconds so far."""
    with monitor.window("look"):
        pass
    return _seen(monitor)


def _seen(monitor: Monitor) -> float:
    """Return the CPU seconds so far."""
    return sum(sample["cpu_seconds"] or 0.0 for sample in monitor.samples())


@pytest.mark.parametrize("duty", [0.25, 0.5, 1.0])
def test_a_burn_in_the_process_itself(runner: str, duty: float) -> None:
    """25, 50 and 100 % of one core are seen as such, of the whole machine."""
    with Monitor(runner=runner, interval=0.1) as monitor:
        truth = burn(1.0, duty)["cpu"]
    measured, true = _usage(monitor, truth)
    assert truth > WORTH
    assert measured == pytest.approx(true, abs=POINTS)


@pytest.mark.parametrize(("count", "duty"), [(1, 0.5), (1, 1.0), (2, 0.25), (2, 1.0)])
def test_a_burn_in_children(runner: str, count: int, duty: float) -> None:
    """One and two child processes count in full, though the process itself sleeps."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(count)]
        with Monitor(runner=runner, interval=0.1) as monitor:
            before = cpu_used()
            for each in workers:
                each.send("burn", 1.0, duty)
            truth = sum(each.reply()["cpu"] for each in workers) + cpu_used() - before
    measured, true = _usage(monitor, truth)
    assert truth > WORTH
    assert measured == pytest.approx(true, abs=POINTS)


def test_a_child_that_lives_between_two_samples_counts_to_the_tick(runner: str, worker: Worker) -> None:
    """Born, burning and waited for while nobody looked: its time arrives with its parent's."""
    with Monitor(runner=runner, interval=60, pid=worker.pid) as monitor:
        truth = worker.call("burn_in_children", 2, 0.4)
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.01)


def test_children_of_the_monitors_own_process_count_to_the_tick(runner: str) -> None:
    """Also where the watched process is the one that watches."""
    with Monitor(runner=runner, interval=60) as monitor:
        before = cpu_used(), cpu_used(resource.RUSAGE_CHILDREN)
        if (pid := os.fork()) == 0:
            burn(0.5)
            os._exit(0)
        os.waitpid(pid, 0)
        truth = cpu_used() - before[0] + cpu_used(resource.RUSAGE_CHILDREN) - before[1]
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + OURS)


def test_children_seen_alive_and_waited_for_count_once(runner: str, worker: Worker) -> None:
    """Short samples catch them alive many times; handing their time over adds nothing to it."""
    with Monitor(runner=runner, interval=0.02, pid=worker.pid) as monitor:
        truth = worker.call("burn_in_children", 3, 0.9)
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.01)


def test_a_child_alive_at_stop_counts_up_to_then(runner: str) -> None:
    """The last sample looks once more for children that were born since the look before."""
    with Monitor(runner=runner, interval=60) as monitor, Worker() as late:
        own = cpu_used()
        late.call("burn", 0.5)
        truth = late.call("cpu_used") + cpu_used() - own
        monitor.stop()
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + OURS)


def test_a_child_born_in_a_thread_counts(runner: str, worker: Worker) -> None:
    """The kernel lists children by the thread that forked them; all threads are asked."""
    with Monitor(runner=runner, interval=0.1, pid=worker.pid) as monitor:
        worker.call("burn_until_told", {"from_thread": True})
        wait_for(lambda: _seen(monitor) > WORTH, what="the time of a child that still burns")
        truth = worker.call("end_burn")
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.01)


@pytest.mark.parametrize("work", ["burn", "multiply"])
def test_threads_of_a_child_all_count(runner: str, worker: Worker, work: str) -> None:
    """Python threads and those of a matrix library."""
    arguments = (1.0, 1.0, 3) if work == "burn" else (1.0,)
    with Monitor(runner=runner, interval=0.1, pid=worker.pid) as monitor:
        truth = worker.call(work, *arguments)["cpu"]
    assert truth > WORTH
    start_up = 0.3 if work == "multiply" else 0.01  # importing the library counts too, outside of its own account
    total = monitor.describe()["cpu_seconds"].total
    assert truth - 0.01 <= total <= truth + start_up + 0.01


def test_a_grandchild_whose_parent_ends_first_stays_counted(runner: str, worker: Worker) -> None:
    """It was seen in the tree, so it belongs to it, though init is its parent now."""
    with Monitor(runner=runner, interval=0.05, pid=worker.pid) as monitor:
        truth = worker.call("burn_in_orphan", 1.6, 0.8)
    # init waits for the orphan, not the tree: what it used after the last sample of it is lost
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.1)


def test_children_that_nobody_waits_for_count_up_to_their_last_sample(runner: str, worker: Worker) -> None:
    """With SIGCHLD ignored their time reaches no parent; what was seen of it stays counted while others go on."""
    with Monitor(runner=runner, interval=0.05, pid=worker.pid) as monitor:
        truth = worker.call("burn_in_children", 2, 1.2, {"is_waited": False})
        truth += worker.call("burn", 0.6)["cpu"]  # would hide the loss of what was counted
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.2)


def test_a_child_that_ends_hidden_by_anothers_burn_stays_counted(worker: Worker) -> None:
    """A long time between samples in which one unwaited child ends and the parent burns more than it had."""
    with Monitor(runner="thread", interval=60, pid=worker.pid) as monitor:
        worker.call("burn_until_told", {"is_waited": False})
        wait_for(lambda: _looked(monitor) > WORTH, what="the time of a child that still burns")
        seen = _looked(monitor)
        worker.call("end_burn")
        burnt = 0.0
        while burnt < seen + 0.2:  # more than the child had
            burnt += worker.call("burn", 0.5)["cpu"]
    assert monitor.describe()["cpu_seconds"].total > seen + burnt - ROUNDING


def test_other_agents_of_heflwr_are_not_billed(runner: str) -> None:
    """The children of other monitors burn CPU to measure; a monitor's total is the user's alone."""
    others = [Monitor(runner="process", interval=0.001) for _ in range(4)]
    with Monitor(runner=runner, interval=0.1) as monitor, ExitStack() as stack:
        before = cpu_used()
        for other in others:
            stack.enter_context(other)
        burn(1.2, 0.2)
        agents = [child for child in psutil.Process().children() if AGENT_MARK.decode() in " ".join(child.cmdline())]
        spent = sum(sum(agent.cpu_times()[:2]) for agent in agents)
        monitor.stop()
        truth = cpu_used() - before
    assert spent > ROUNDING + OURS
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + OURS)


def test_without_linuxs_files_the_numbers_are_sane(runner: str, worker: Worker) -> None:
    """Through psutil: CPU of a child within 5 points, memory within 5 %."""
    with worker:
        held = worker.call("hold", 256)
        with Monitor(runner=runner, interval=0.1, pid=worker.pid, machine=Machine(proc=None, sys=None)) as monitor:
            truth = worker.call("burn", 1.5)["cpu"]
            truth += worker.call("burn_in_children", 1, 0.0)
        measured, true = _usage(monitor, truth)
        assert measured == pytest.approx(true, abs=5.0)
        assert monitor.summary()["avg_memory_usage"] == pytest.approx(
            100.0 * held / psutil.virtual_memory().total, rel=0.05
        )


@pytest.mark.parametrize("machine", [None, Machine(proc=None, sys=None)], ids=["files", "psutil"])
@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_a_watched_process_that_ends_is_told_and_its_samples_stay(
    runner: str, worker: Worker, machine: Machine | None, reap: bool
) -> None:
    """Whether its parent has taken note of its end or not."""
    with worker, Monitor(runner=runner, interval=0.05, pid=worker.pid, machine=machine) as monitor:
        truth = worker.call("burn", 0.4)["cpu"]
        worker.kill(reap=reap)
        wait_for(lambda: monitor.failure, 5.0, "the failure")
        assert f"process {worker.pid} has ended" in monitor.failure
    assert not monitor.health.is_complete
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.1)


def test_an_unreaped_process_has_its_last_sample_at_stop(runner: str, worker: Worker) -> None:
    """Who waits for a child only after stop() gets its whole CPU time, to the tick, whatever the interval."""
    with Monitor(runner=runner, interval=60, pid=worker.pid) as monitor:
        truth = worker.call("burn", 0.4)["cpu"]
        worker.kill(reap=False)
        wait_for(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE)
    assert monitor.failure == ""
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING)


@pytest.mark.parametrize("machine", [None, Machine(proc=None, sys=None)], ids=["files", "psutil"])
def test_a_process_that_ends_unreaped_has_one_more_sample(runner: str, worker: Worker, machine: Machine | None) -> None:
    """While its parent has taken no note of its end, what it used last can still be read, and is."""
    with Monitor(runner=runner, interval=0.7, pid=worker.pid, machine=machine) as monitor:
        wait_for(lambda: monitor.health.samples)
        truth = worker.call("burn", 0.3)["cpu"]
        worker.kill(reap=False)
        wait_for(lambda: monitor.failure, 5.0, "the failure")
    assert truth > WORTH
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING)


def test_a_recycled_pid_is_not_taken_for_the_watched_process(runner: str) -> None:
    """The number is given to a new process at once; the run ends all the same, and the newcomer is not billed."""
    last_pid = "/proc/sys/kernel/ns_last_pid"
    if not os.access(last_pid, os.W_OK):
        pytest.skip("this test hands out a process number again: needs root and a kernel with ns_last_pid")
    with Worker() as worker, Monitor(runner=runner, interval=0.05, pid=worker.pid) as monitor:
        truth = worker.call("burn", 0.2)["cpu"]
        worker.kill()
        newcomer = _fork_with_number(worker.pid, last_pid)
        try:
            wait_for(lambda: monitor.failure, 5.0, "the failure")
        finally:
            os.kill(newcomer, signal.SIGKILL)
            os.waitpid(newcomer, 0)
    assert "has ended" in monitor.failure
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=ROUNDING + 0.1)


def _fork_with_number(number: int, last_pid: str) -> int:
    """Fork a child that burns, until it gets this number."""
    for _ in range(200):
        with open(last_pid, "w") as file:
            file.write(str(number - 1))
        if (pid := os.fork()) == 0:
            if os.getpid() == number:
                burn(10.0)
            os._exit(0)
        if pid == number:
            return pid
        os.waitpid(pid, 0)
    pytest.skip(f"another process took the number {number} each time")
