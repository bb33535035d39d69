"""network="process": TCP bytes of the process tree's own connections, without root."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import need, need_root
from waiting import wait_for
from workloads import MIB, Worker

from heflwr.monitor import Monitor
from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")


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


def watch(worker: Worker, runner: str, *, interval: float = 0.1, loopback: bool = True) -> Monitor:
    return Monitor(runner=runner, interval=interval, pid=worker.pid, network="process", loopback=loopback)


def totals(monitor: Monitor) -> tuple[float, float]:
    summary = monitor.summary()
    return summary["total_network_bytes_sent"], summary["total_network_bytes_recv"]


def see(monitor: Monitor, sent: int) -> None:
    """Take samples until so many bytes have been counted: looks at sockets are rationed."""

    def look() -> bool:
        with monitor.window("look") as window:
            pass
        window.summary()
        return totals(monitor)[0] >= sent

    wait_for(look, what=f"the count of {sent} bytes")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_bytes_of_one_process_and_not_of_another(runner: str, host: str, worker: Worker, receiver: Worker) -> None:
    """200 MiB are counted to the byte, at both ends; what another process sends meanwhile is not."""
    port = receiver.call("receive_all", host)
    number = worker.call("connect", host, port)
    with Worker() as other, watch(receiver, runner) as at_receiver:
        others = other.call("connect", host, port)
        with watch(worker, runner) as monitor:
            other.send("transmit", others, 20 * MIB)
            worker.call("transmit", number, 200 * MIB)
            other.reply()
            wait_for(lambda: totals(at_receiver)[1] == 220 * MIB, what="the receiver's count")
    assert totals(monitor) == (200 * MIB, 0)
    assert totals(at_receiver) == (0, 220 * MIB)
    assert sum(monitor.stats()["network_bytes_sent"]) == 200 * MIB
    assert "sock_diag" in monitor.health.sources["network"]
    assert not monitor.health.errors


def test_what_was_sent_before_start_is_not_billed_and_what_precedes_stop_is(
    runner: str, worker: Worker, receiver: Worker
) -> None:
    """The baseline is each socket's own, whatever the interval."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    worker.call("transmit", number, 30 * MIB)
    with watch(worker, runner, interval=60) as monitor:
        worker.call("transmit", number, 10 * MIB)
    assert totals(monitor) == (10 * MIB, 0)


def test_a_connection_opened_later_counts_from_its_first_byte(runner: str, worker: Worker, receiver: Worker) -> None:
    """Found at the last sample, if not before."""
    port = receiver.call("receive_all")
    with watch(worker, runner, interval=60) as monitor:
        number = worker.call("connect", "127.0.0.1", port)
        worker.call("transmit", number, 10 * MIB)
    assert totals(monitor) == (10 * MIB, 0)


def test_a_connection_that_closes_between_two_samples_keeps_its_last_bytes(
    runner: str, worker: Worker, receiver: Worker
) -> None:
    """Seen once, it is followed to its end: the kernel tells of it."""
    port = receiver.call("receive_all")
    with watch(worker, runner, interval=60) as monitor:
        for k in range(3):
            number = worker.call("connect", "127.0.0.1", port)
            worker.call("transmit", number, MIB)
            see(monitor, (5 * k + 1) * MIB)
            worker.call("transmit", number, 4 * MIB)
            worker.call("disconnect", number)
    sent, received = totals(monitor)
    assert sent == 15 * MIB
    assert received <= 3  # the end of each stream


def test_a_connection_that_was_never_seen_is_not_counted(runner: str, worker: Worker, receiver: Worker) -> None:
    """The documented limit: it began and ended between two looks. Later ones are not disturbed."""
    port = receiver.call("receive_all")
    with watch(worker, runner, interval=60) as monitor:
        wait_for(lambda: monitor.health.samples)
        worker.call("spend_and_close", "127.0.0.1", port, 3 * MIB)
        number = worker.call("connect", "127.0.0.1", port)
        worker.call("transmit", number, MIB)
    assert totals(monitor)[0] == MIB


def test_a_socket_shared_by_a_fork_counts_once(runner: str, worker: Worker, receiver: Worker) -> None:
    """Parent and child send over one connection."""
    number = worker.call("connect", "127.0.0.1", receiver.call("receive_all"))
    with watch(worker, runner, interval=0.02) as monitor:
        assert worker.call("transmit_in_child", number, 64 * MIB)
    assert totals(monitor) == (64 * MIB, 0)


def test_a_connection_lent_by_another_process_counts_while_it_is_held(
    runner: str, worker: Worker, receiver: Worker, tmp_path: Path
) -> None:
    """Another process lends it, after start(): neither what it carried before nor what it carries after is billed."""
    path = str(tmp_path / "channel")
    with (
        socket.create_connection(("127.0.0.1", receiver.call("receive_all"))) as connection,
        socket.socket(socket.AF_UNIX) as channel,
    ):
        connection.sendall(bytes(3 * MIB))
        channel.bind(path)
        channel.listen()
        with watch(worker, runner) as monitor:
            worker.send("adopt", path)
            with channel.accept()[0] as hand:
                socket.send_fds(hand, [b"."], [connection.fileno()])
            worker.call("transmit", number := worker.reply(), 2 * MIB)
            see(monitor, 2 * MIB)
            worker.call("disconnect", number)
            connection.sendall(bytes(MIB))
    assert totals(monitor) == (2 * MIB, 0)


def test_the_connections_of_children_count(runner: str, receiver: Worker) -> None:
    """A child of the watched process, which was born after start()."""
    monitor = Monitor(runner=runner, interval=60, network="process", loopback=True)
    with monitor:
        port = receiver.call("receive_all")
        with Worker() as child:
            number = child.call("connect", "127.0.0.1", port)
            child.call("transmit", number, 10 * MIB)
            monitor.stop()
    # both ends are children of this process
    assert totals(monitor)[0] == 10 * MIB


def test_loopback_counts_only_when_asked_for(runner: str, worker: Worker, receiver: Worker) -> None:
    """127.0.0.0/8 and ::1 are inside the host."""
    receivers = ("127.0.0.1", "::1")
    numbers = [worker.call("connect", host, receiver.call("receive_all", host)) for host in receivers]
    with watch(worker, runner, loopback=False) as monitor:
        for number in numbers:
            worker.call("transmit", number, MIB)
    assert totals(monitor) == (0, 0)


def test_a_system_without_sock_diag_names_the_way_out(runner: str) -> None:
    """start() raises, and says what works instead."""
    monitor = Monitor(runner=runner, network="process", machine=Machine(proc=None, sys=None))
    with pytest.raises(SourceUnavailable, match="network='host'"):
        monitor.start()


def test_a_process_in_another_network_namespace_is_refused(runner: str) -> None:
    """Its sockets cannot be seen from here, and zeros would be a lie."""
    ip = need("ip")
    need_root("makes a network namespace")
    name = f"heflwrtcp{os.getpid()}"
    subprocess.run([ip, "netns", "add", name], check=True, capture_output=True)
    try:
        with (
            Worker(ip, "netns", "exec", name) as worker,
            pytest.raises(SourceUnavailable, match="another network namespace"),
        ):
            watch(worker, runner).start()
    finally:
        subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)


UNPRIVILEGED = """
import ctypes, os, socket, sys, threading
sys.path[:0] = {path!r}
from heflwr.monitor import Monitor
import heflwr.monitor.runners.thread, heflwr.monitor.probes.tcp, heflwr.monitor.probes.tree_linux
monitor = Monitor(runner="thread", interval=60, network="process", loopback=True)
monitor.set_metrics(cpu=False, memory=False)
import encodings.idna
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as a program that never was root
assert os.geteuid() == 65534
server = socket.create_server(("127.0.0.1", 0))
with monitor:
    client = socket.create_connection(server.getsockname())
    peer = server.accept()[0]
    with monitor.window("look"):
        pass
    client.sendall(bytes(1000)); peer.recv(1000, socket.MSG_WAITALL)
    client.close(); peer.close()
print(monitor.summary(), monitor.health.sources["network"])
"""


def test_no_privilege_is_needed() -> None:
    """As nobody: sockets are found, and the ends of closed ones are heard of."""
    need_root("gives up root")
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED.format(path=[root])], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    # one byte more received for the end of each stream, where it came before its socket's own
    assert re.search(r"'total_network_bytes_sent': 1000, 'total_network_bytes_recv': 100[012],", result.stdout)
    assert result.stdout.endswith("TCP sockets of the process tree (sock_diag)\n")
