"""Host traffic against the kernel's own interface counters, over loopback and over a pair of virtual cables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from programs import need, need_root
from waiting import wait_for
from workloads import MIB, Worker

from heflwr.monitor import Monitor
from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.network import HostNetworkProbe

SIZE = 200 * MIB


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Worker]:
    with Worker() as started:
        yield started


def counters(interface: str) -> tuple[int, int]:
    """Return bytes sent and received since boot, by /proc/net/dev."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == interface:
            fields = rest.split()
            return int(fields[8]), int(fields[0])
    raise LookupError(interface)


def carry(worker: Worker, number: int, receiver: Worker, size: int) -> None:
    """Send bytes, and wait until they have come: what is still in a buffer is on no interface yet."""
    total = receiver.call("received") + size
    worker.call("transmit", number, size)
    wait_for(lambda: receiver.call("received") == total, what="the last byte")


def test_200_mib_over_loopback(runner: str, worker: Worker, receiver: Worker) -> None:
    """With loopback=True both directions are within 1 % of what the interface counted."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    with Monitor(runner=runner, interval=0.1, loopback=True, interfaces=["lo"]) as monitor:
        before = counters("lo")
        carry(worker, number, receiver, SIZE)
        after = counters("lo")
    summary = monitor.summary()
    assert after[0] - before[0] >= SIZE
    assert summary["total_network_bytes_sent"] == pytest.approx(after[0] - before[0], rel=0.01)
    assert summary["total_network_bytes_recv"] == pytest.approx(after[1] - before[1], rel=0.01)
    assert sum(monitor.stats()["network_bytes_sent"]) == summary["total_network_bytes_sent"]


def test_loopback_does_not_count_unless_asked(runner: str, worker: Worker, receiver: Worker) -> None:
    """By default traffic that never leaves the host is not the host's traffic."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    with Monitor(runner=runner, interval=0.1) as monitor:
        carry(worker, number, receiver, 50 * MIB)
    assert monitor.summary()["total_network_bytes_sent"] < 10 * MIB


@pytest.fixture
def cable() -> Iterator[tuple[str, str, str]]:
    """A network namespace at the other end of a virtual cable: its name, our interface, its address."""
    ip = need("ip")
    need_root("makes a network namespace")
    name = f"heflwr{os.getpid()}"
    ours, theirs = f"hf{os.getpid() % 10**7}a", f"hf{os.getpid() % 10**7}b"
    commands = (
        f"netns add {name}",
        f"link add {ours} type veth peer name {theirs} netns {name}",
        f"address add 10.213.7.1/30 dev {ours}",
        f"link set {ours} up",
        f"-n {name} address add 10.213.7.2/30 dev {theirs}",
        f"-n {name} link set {theirs} up",
        f"-n {name} link set lo up",
    )
    try:
        for command in commands:
            subprocess.run([ip, *command.split()], check=True, capture_output=True)
        yield name, ours, "10.213.7.2"
    finally:
        subprocess.run([ip, "link", "del", ours], check=False, capture_output=True)
        subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)


def test_200_mib_over_a_cable(runner: str, worker: Worker, cable: tuple[str, str, str]) -> None:
    """One named interface counts, within 1 % of its own counters; a second monitor at once sees the same."""
    namespace, interface, address = cable
    with Worker(need("ip"), "netns", "exec", namespace) as receiver:
        number = worker.call("connect", address, receiver.call("receive_all", address))
        second = Monitor(runner="thread", interval=0.07, interfaces=[interface])
        with Monitor(runner=runner, interval=0.1, interfaces=[interface]) as monitor, second:
            before = counters(interface)
            carry(worker, number, receiver, SIZE)
            after = counters(interface)
    assert after[0] - before[0] >= SIZE
    for each in (monitor, second):
        summary = each.summary()
        assert summary["total_network_bytes_sent"] == pytest.approx(after[0] - before[0], rel=0.01)
        assert summary["total_network_bytes_recv"] == pytest.approx(after[1] - before[1], rel=0.01, abs=10_000)


def test_bytes_before_start_are_not_billed_and_those_before_stop_are(
    runner: str, worker: Worker, receiver: Worker
) -> None:
    """The baseline is taken at start(), the rest at stop(), however long the interval."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    carry(worker, number, receiver, 60 * MIB)
    with Monitor(runner=runner, interval=60, interfaces=["lo"]) as monitor:
        before = counters("lo")[0]
        carry(worker, number, receiver, 40 * MIB)
        truth = counters("lo")[0] - before
    assert truth < 55 * MIB
    assert monitor.summary()["total_network_bytes_sent"] == pytest.approx(truth, rel=0.02)


def test_a_host_with_very_many_interfaces_is_read_to_the_end(runner: str) -> None:
    """The kernel hands /proc/net/dev out by the page, which some thirty interfaces fill."""
    ip = need("ip")
    need_root("makes a network namespace")
    name = f"heflwrmany{os.getpid()}"
    subprocess.run([ip, "netns", "add", name], check=True, capture_output=True)
    try:
        batch = "".join(f"link add many{k} type veth peer name more{k}\n" for k in range(50))
        subprocess.run([ip, "-n", name, "-batch", "-"], input=batch.encode(), check=True, capture_output=True)
        with Worker(ip, "netns", "exec", name) as worker, Monitor(runner=runner, interval=1, pid=worker.pid) as monitor:
            source = monitor.health.sources["network"]
        counted = set(source.removeprefix("host, interfaces ").split(", "))
        assert {f"many{k}" for k in range(50)} | {f"more{k}" for k in range(50)} == counted - {
            "sit0",
            "tunl0",
            "ip6tnl0",
        }
    finally:
        subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)


class RecordedInterfaces:
    """A procfs with one process, whose interfaces' counters a test sets."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(str(root), None)
        self._file = root / "1" / "net" / "dev"
        self._file.parent.mkdir(parents=True)

    def set(self, **sent: int) -> None:
        """Write the list: bytes sent of each interface; half as many received."""
        lines = ["Inter-| Receive | Transmit", " face |bytes packets"]
        lines += [f"{name:>6}: {out // 2} 0 0 0 0 0 0 0 {out} 0 0 0 0 0 0 0" for name, out in sent.items()]
        self._file.write_text("\n".join(lines) + "\n")


def test_an_interface_that_one_reading_misses_goes_on_from_its_last_value(tmp_path: Path) -> None:
    """What it sent since boot is not billed when it is back; what it sent in the meantime is."""
    interfaces = RecordedInterfaces(tmp_path)
    interfaces.set(lo=10**9, eth0=10**9, eth1=10**8)
    probe = HostNetworkProbe(interfaces.machine, 1, None, loopback=False)
    probe.open()
    probe.start(0)
    interfaces.set(lo=2 * 10**9, eth1=10**8 + 20)
    assert probe.read(1) == (20, 10)
    assert probe.read(2) == (0, 0)
    interfaces.set(lo=2 * 10**9, eth0=10**9 + 100, eth1=10**8 + 20)
    assert probe.read(3) == (100, 50)
    probe.close()


def test_an_interface_born_later_or_born_again_counts_from_zero(tmp_path: Path) -> None:
    """A VPN that comes up during the run, and one that is set up anew under its old name."""
    interfaces = RecordedInterfaces(tmp_path)
    interfaces.set(eth0=1000)
    probe = HostNetworkProbe(interfaces.machine, 1, None, loopback=False)
    probe.open()
    probe.start(0)
    interfaces.set(eth0=1000, tun0=600)
    assert probe.read(1) == (600, 300)
    interfaces.set(eth0=1000)
    assert probe.read(2) == (0, 0)
    interfaces.set(eth0=1000, tun0=40)
    assert probe.read(3) == (40, 20)
    probe.close()


def test_lines_of_a_long_list_are_not_cut_where_counters_grow_between_its_pages(runner: str) -> None:
    """Numbers that get more digits while the list is read make it longer, but bill no interface for another's bytes."""
    ip = need("ip")
    need_root("makes a network namespace")
    name = f"heflwrgrow{os.getpid()}"
    subprocess.run([ip, "netns", "add", name], check=True, capture_output=True)
    try:
        batch = "link set lo up\n" + "".join(f"link add many{k} type veth peer name more{k}\n" for k in range(50))
        subprocess.run([ip, "-n", name, "-batch", "-"], input=batch.encode(), check=True, capture_output=True)
        with Worker(ip, "netns", "exec", name) as worker:
            monitor = Monitor(runner=runner, interval=0.001, pid=worker.pid, loopback=True)
            monitor.set_metrics(cpu=False, memory=False)
            with monitor:
                number = worker.call("connect", "127.0.0.1", worker.call("receive_all"))
                for power in range(24):  # from one digit to eight
                    worker.call("transmit", number, 2**power)
                wait_for(lambda: sum(worker.call("interface_bytes_sent").values()) >= 2**24)  # out of the buffers
            lines = worker.call("interface_bytes_sent")
    finally:
        subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)
    assert {} == monitor.health.errors, monitor.health
    assert monitor.summary()["total_network_bytes_sent"] == pytest.approx(sum(lines.values()), rel=0.01)


def test_an_absent_interface_is_told_at_start(runner: str) -> None:
    """With the names that this host has."""
    with pytest.raises(SourceUnavailable, match=r"no interface nosuch0; this host has .*lo"):
        Monitor(runner=runner, interfaces=["nosuch0"]).start()


def test_traffic_is_counted_without_linuxs_files(runner: str, worker: Worker, receiver: Worker) -> None:
    """Through psutil, loopback included when asked for."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    machine = Machine(proc=None, sys=None)
    with Monitor(runner=runner, interval=0.1, interfaces=["lo"], machine=machine) as monitor:
        before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        carry(worker, number, receiver, 50 * MIB)
        truth = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
    assert monitor.summary()["total_network_bytes_sent"] == pytest.approx(truth, rel=0.02)
