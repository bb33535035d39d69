"""Carrying messages: in memory as a test wants it, over ZeroMQ as the world does."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon.checkpoint import arrays_from_bytes, arrays_to_bytes, node_from_arrays, node_to_arrays, read, write
from heflwr.automon.codec import encode
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.function import Function
from heflwr.automon.messages import COORDINATOR, Constraint, Envelope, Request, Slack, Violation, ViolationKind, version
from heflwr.automon.protocols.door import MOST_REFUSALS
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.node import Node, NodeState
from heflwr.automon.signals import Goodbye, Heartbeat, Reason, Welcome
from heflwr.automon.transports.link import REMEMBERED, CoordinatorLink, NodeLink
from heflwr.automon.transports.memory import MemoryNetwork
from heflwr.automon.transports.roster import Roster
from heflwr.automon.zones.dc import DcZone

zmq = pytest.importorskip("zmq")

from heflwr.automon.transports.zeromq import CoordinatorEndpoint, NodeEndpoint  # noqa: E402  # it needs zmq

HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: HESSIAN @ x, hessian=HESSIAN)
BOUND = 0.5
FAST: dict[str, Any] = {"heartbeat_seconds": 0.1, "retry_seconds": 0.2}
SLOW_LEASE: dict[str, Any] = {"lease_seconds": 60.0, "retry_seconds": 0.2}


# State as bytes


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=2), st.booleans())
def test_a_nodes_state_survives_as_bytes(x: list[float], has_slack: bool) -> None:
    """A node made of the bytes of another's state goes on like it."""
    node = Node(7, SADDLE)
    node.update(np.array(x))
    coordinator = Coordinator(SADDLE, 8, BOUND, sync="lazy-lru" if has_slack else "eager", slack=has_slack)
    fresh = [Violation(i, 0, ViolationKind.SAFE_ZONE, np.array(x)) for i in range(8)]
    node.receive(coordinator.receive(*fresh)[7].message)
    again = Node.from_state(
        node_from_arrays(arrays_from_bytes(arrays_to_bytes(node_to_arrays(node.state))), SADDLE), SADDLE
    )
    for point in (np.array(x), np.array([0.0, 10.0])):
        assert [vars(each.message).keys() for each in node.update(point)] == [
            vars(each.message).keys() for each in again.update(point)
        ]
    assert node.state.version == again.state.version


def test_a_new_nodes_state_survives_as_bytes() -> None:
    """So does the state of a node that has neither a vector nor a constraint."""
    state = node_from_arrays(arrays_from_bytes(arrays_to_bytes(node_to_arrays(NodeState(3)))), SADDLE)
    assert NodeState(3).__dict__ == state.__dict__


def test_a_coordinators_state_survives_as_bytes() -> None:
    """All arrays come back with their types and shapes."""
    state = Coordinator(SADDLE, 3, BOUND).state | {"name": np.array("gm"), "empty": np.zeros((0, 4))}
    again = arrays_from_bytes(arrays_to_bytes(state))
    assert state.keys() == again.keys()
    for name, array in state.items():
        assert (array.dtype, array.shape) == (again[name].dtype, again[name].shape)
        assert np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f")


@given(st.binary(max_size=60), st.booleans())
def test_other_bytes_are_no_state(data: bytes, is_signed: bool) -> None:
    """Noise is refused, even behind a right beginning and with a right checksum."""
    from zlib import crc32

    if is_signed:
        data = b"\xa7MST\x01" + data
        data += crc32(data).to_bytes(4, "little")
    try:
        arrays = arrays_from_bytes(data)
    except MalformedMessage:
        return
    assert arrays_to_bytes(arrays) == data


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A state file that is cut or changed is not taken up; the error names it."""
    path = tmp_path / "state"
    assert read(path) is None
    write(path, Coordinator(SADDLE, 3, BOUND).state)
    whole = path.read_bytes()
    assert [path] == list(tmp_path.iterdir())
    for damaged in (whole[:-1], whole[:40], b"", whole[:50] + b"\x07" + whole[51:]):
        path.write_bytes(damaged)
        with pytest.raises(MalformedMessage, match=str(path)):
            read(path)


def test_an_array_of_objects_is_not_stored() -> None:
    """Only numbers, flags and names are."""
    with pytest.raises(TypeError, match="not stored"):
        arrays_to_bytes({"x": np.array([object()])})


# Both ends of a link


def anchored() -> tuple[Constraint, Violation]:
    vector = np.array([1.0, 2.0])
    zone = DcZone(np.array([0.5, 0.5]), 0.0, np.ones(2), -1.0, 1.0, 1.0, True)
    constraint = Constraint(version(1), zone, vector - zone.reference)
    return constraint, Violation(0, 0, ViolationKind.SAFE_ZONE, vector)


def test_a_full_sync_is_short_once_and_then_whole() -> None:
    """The slack that a node can know travels only if the same constraint has to be sent again."""
    constraint, violation = anchored()
    node, coordinator = NodeLink(), CoordinatorLink()
    node.encode(violation)
    coordinator.received(0, violation)
    first, second = coordinator.encode(0, constraint), coordinator.encode(0, constraint)
    assert len(first) + 13 == len(second)
    for data in (first, second):
        decoded = node.decode(data)
        assert isinstance(decoded, Constraint)
        assert constraint.slack is not None
        assert decoded.slack is not None
        assert constraint.slack.tolist() == decoded.slack.tolist()
    with pytest.raises(MalformedMessage):
        NodeLink().decode(first)


def test_a_node_remembers_only_its_latest_vectors() -> None:
    """However much a node sends, its link keeps a few vectors."""
    constraint, violation = anchored()
    node, coordinator = NodeLink(), CoordinatorLink()
    node.encode(violation)
    coordinator.received(0, violation)
    data = coordinator.encode(0, constraint)
    for number in range(REMEMBERED - 1):
        node.remember(np.array([number, 0.0]))
    assert isinstance(node.decode(data), Constraint)
    node.remember(np.array([100.0, 0.0]))
    with pytest.raises(MalformedMessage):
        node.decode(data)


# In memory


def fleet(nodes: int, **options: Any) -> MemoryNetwork:
    machines: dict[int, Any] = {index: Node(index, SADDLE) for index in range(nodes)}
    network = MemoryNetwork(Coordinator(SADDLE, nodes, BOUND), machines, **options)
    for index, node in machines.items():
        network.send(index, node.update(np.zeros(2)))
    return network


@pytest.mark.parametrize("options", [{}, {"delay": 5}, {"delay": 3, "is_ordered": False, "duplication": 0.3}])
def test_memory_delivers_all_in_the_end(options: dict[str, Any]) -> None:
    """Late, swapped and repeated messages change nothing of the outcome."""
    network = fleet(4, seed=1, **options)
    network.run()
    network.send(0, network.nodes[0].update(np.array([0.0, 4.0])))  # type: ignore[attr-defined]
    network.run()
    assert 1.0 == network.coordinator.answer.value
    assert network.coordinator.answer.is_quiescent


def test_the_same_seed_gives_the_same_run() -> None:
    """Chance is drawn from the seed alone."""
    runs = []
    for seed in (1, 1, 2):
        network = fleet(6, seed=seed, delay=5, is_ordered=False, loss=0.2)
        order = []
        for _ in range(10):
            network.tick()
            order.append(tuple((letter.sender, letter.to) for letter in network.letters))
        runs.append(order)
    assert runs[0] == runs[1] != runs[2]


def test_memory_loses_what_it_is_told_to() -> None:
    """A letter that is lost does not arrive; a time-out asks again."""
    network = fleet(2)
    network.deliver()
    network.lose()
    network.run()
    assert not network.coordinator.answer.is_quiescent
    network.send(COORDINATOR, network.coordinator.resend())  # type: ignore[attr-defined]
    network.run()
    assert network.coordinator.answer.is_quiescent


def test_all_can_be_lost() -> None:
    """With a loss of 1 nothing arrives, and the run ends."""
    network = fleet(3, loss=1.0)
    network.run()
    assert np.isnan(network.coordinator.answer.value)


def test_letters_without_end_are_an_error() -> None:
    """A network in which everything is repeated for ever says so."""
    network = fleet(1, duplication=1.0)
    with pytest.raises(RuntimeError, match="letters are left"):
        network.run(10)


def test_memory_counts_what_is_no_message() -> None:
    """Noise, another one's index, and messages that go the wrong way are counted and dropped."""
    network = fleet(2)
    network.run()
    sound = Violation(1, 0, ViolationKind.SAFE_ZONE, np.ones(2))
    for to, data in (
        (COORDINATOR, b"noise"),
        (COORDINATOR, encode(sound)),
        (COORDINATOR, encode(Request(0))),
        (0, encode(sound)),
        (0, b""),
    ):
        network.forge(0, to, data)
    network.run()
    assert 5 == network.malformed
    assert 0.0 == network.coordinator.answer.value


@pytest.mark.parametrize("options", [{"loss": 1.5}, {"duplication": -0.1}, {"delay": -1}])
def test_impossible_networks_are_refused(options: dict[str, Any]) -> None:
    """Shares are from 0 to 1, delays not negative."""
    with pytest.raises(ValueError, match=next(iter(options))):
        MemoryNetwork(Coordinator(SADDLE, 1, BOUND), {}, **options)


# Leases


def test_the_first_to_speak_holds_an_index() -> None:
    """Another address is refused until the first is silent for longer than the lease, or says goodbye."""
    roster = Roster(4, 10.0, 0.0)
    assert roster.hear(1, b"a", 0.0) is None
    assert Reason.TAKEN is roster.hear(1, b"b", 1.0)
    assert Reason.OTHER is roster.hear(2, b"a", 1.0)
    assert Reason.TOO_LARGE is roster.hear(4, b"c", 1.0)
    assert roster.hear(1, b"a", 2.0) is None
    assert [0, 2, 3] == roster.expired(11.0)
    assert [] == roster.expired(12.0)
    assert [1] == roster.expired(12.5)
    assert [] == roster.expired(99.0)
    assert roster.hear(1, b"b", 99.0) is None
    roster.release(1)
    assert roster.address(1) is None
    assert roster.hear(1, b"a", 99.0) is None


def test_a_heartbeat_renews_the_lease() -> None:
    """A node that speaks in time is never given up."""
    roster = Roster(1, 10.0, 0.0)
    for now in range(0, 100, 9):
        assert roster.hear(0, b"a", now) is None
        assert [] == roster.expired(now + 9)


@pytest.mark.parametrize(("nodes", "lease"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_roster_refuses_nonsense(nodes: int, lease: float) -> None:
    """No nodes, or no lease."""
    with pytest.raises(ValueError, match="must be"):
        Roster(nodes, lease, 0.0)


# ZeroMQ: everything runs in this thread, a step at a time


def pump(condition: Callable[[], Any], *endpoints: Any, seconds: float = 20.0) -> None:
    """Lets the endpoints work in turn until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        for endpoint in endpoints:
            endpoint.step(0.005)


@contextmanager
def running(
    nodes: int, tmp_path: Path | None = None, **options: Any
) -> Iterator[tuple[CoordinatorEndpoint, list[NodeEndpoint]]]:
    """A coordinator and nodes at the origin, connected."""
    with ExitStack() as stack:
        coordinator = stack.enter_context(CoordinatorEndpoint(SADDLE, nodes, BOUND, ANY, **(SLOW_LEASE | options)))
        ends = [stack.enter_context(NodeEndpoint(i, SADDLE, coordinator.address, **FAST)) for i in range(nodes)]
        for end in ends:
            end.update(np.zeros(2))
        pump(lambda: coordinator.answer.is_quiescent and all(end.version for end in ends), coordinator, *ends)
        yield coordinator, ends


ANY = "tcp://127.0.0.1:*"


def is_known(coordinator: CoordinatorEndpoint, value: float) -> bool:
    answer = coordinator.answer
    return answer.is_quiescent and answer.stale == 0 and abs(answer.value - value) <= answer.bound


def test_nodes_and_a_coordinator_agree_over_zeromq() -> None:
    """The answer follows the nodes' vectors, and nothing is malformed, refused or lost."""
    with running(3) as (coordinator, nodes):
        assert (0.0, 3) == (coordinator.answer.value, coordinator.answer.live)
        for x in ([0.0, 3.0], [3.0, 0.0], [2.0, 2.0]):
            for node in nodes:
                node.update(np.array(x))
            pump(lambda x=x: is_known(coordinator, SADDLE.value(np.array(x))), coordinator, *nodes)
        assert (0, 0, 0) == (coordinator.malformed, coordinator.refused, coordinator.undelivered)
        assert all(node.is_connected and node.malformed == 0 for node in nodes)


def test_a_goodbye_is_heard_at_once() -> None:
    """A node that closes is lost without a lease; it may come back, and another index may come new."""
    with running(2) as (coordinator, nodes):
        nodes[1].close()
        pump(lambda: (1, 1) == (coordinator.answer.live, coordinator.answer.lost), coordinator, nodes[0])
        for index in (1, 5):
            with NodeEndpoint(index, SADDLE, coordinator.address, **FAST) as other:
                other.update(np.array([0.0, 4.0]))
                pump(lambda: is_known(coordinator, 4.0) and coordinator.answer.live == 2, coordinator, nodes[0], other)
            pump(lambda: coordinator.answer.live == 1, coordinator, nodes[0])


def test_a_goodbye_comes_after_what_was_said_before() -> None:
    """A vector and a goodbye that arrive together leave no trace of the node."""
    with running(1) as (coordinator, nodes), zmq.Context() as context, context.socket(zmq.DEALER) as passer_by:
        passer_by.connect(coordinator.address)
        for message in (Violation(1, 0, ViolationKind.SAFE_ZONE, np.array([0.0, 9.0])), Goodbye(1)):
            passer_by.send(encode(message))
        pump(lambda: coordinator.answer.lost == 1, coordinator, *nodes)
        pump(lambda: is_known(coordinator, 0.0) and coordinator.answer.live == 1, coordinator, *nodes)


def test_a_silent_node_is_lost_and_a_returning_one_joins() -> None:
    """Without heartbeats a lease runs out; the first sign of life afterwards lets the node take part again."""
    with running(2, lease_seconds=1.0) as (coordinator, nodes):
        nodes[0].update(np.array([0.0, 2.0]))
        pump(lambda: coordinator.answer.lost == 1, coordinator, nodes[0])
        pump(lambda: is_known(coordinator, 4.0), coordinator, nodes[0])
        pump(lambda: coordinator.answer.live == 2 and is_known(coordinator, 1.0), coordinator, *nodes)


def test_a_node_that_never_comes_is_given_up() -> None:
    """The first sync does not wait for ever."""
    with (
        CoordinatorEndpoint(SADDLE, 3, BOUND, ANY, lease_seconds=1.0, retry_seconds=0.2) as coordinator,
        NodeEndpoint(0, SADDLE, coordinator.address, **FAST) as node,
    ):
        node.update(np.array([0.0, 1.0]))
        pump(lambda: is_known(coordinator, 1.0), coordinator, node)
        assert (1, 2) == (coordinator.answer.live, coordinator.answer.lost)


def test_a_second_node_with_the_same_index_is_refused() -> None:
    """It is told why; the first stays. When the first goes the second takes part."""
    with running(2) as (coordinator, nodes), NodeEndpoint(1, SADDLE, coordinator.address, **FAST) as second:
        second.update(np.array([0.0, 9.0]))
        pump(lambda: second.refusal is Reason.TAKEN, coordinator, second, *nodes)
        assert 0.0 == coordinator.answer.value
        assert 2 == coordinator.answer.live
        assert coordinator.refused > 0
        nodes[1].close()
        pump(lambda: second.refusal is None and is_known(coordinator, 4.5**2), coordinator, second, nodes[0])


def test_an_index_without_end_is_refused() -> None:
    """A forged index does not make the coordinator's arrays grow."""
    with running(1) as (coordinator, nodes), NodeEndpoint(2**40, SADDLE, coordinator.address, **FAST) as large:
        large.update(np.ones(2))
        pump(lambda: large.refusal is Reason.TOO_LARGE, coordinator, large, *nodes)
        assert 1 == coordinator.answer.live


def test_garbage_is_counted_and_dropped() -> None:
    """Bytes that are no message, too many frames, messages of the wrong direction, raw TCP: the fleet goes on."""
    with running(2) as (coordinator, nodes), zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.set(zmq.LINGER, 0)
        stranger.connect(coordinator.address)
        for frames in ([b""], [b"hello"], [b"\xa7M\x11"], [b"a", b"b"], [encode(Request(3))], [encode(Welcome(1))]):
            stranger.send_multipart(frames)
        nan = encode(Violation(3, 0, ViolationKind.SAFE_ZONE, np.ones(2)))[:-8] + np.array([np.nan]).tobytes()
        stranger.send(nan)
        pump(lambda: coordinator.malformed == 7, coordinator, *nodes)
        host, port = coordinator.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), 5) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(1000))
            for node in nodes:
                node.update(np.array([0.0, 2.0]))
            pump(lambda: is_known(coordinator, 4.0), coordinator, *nodes)
        assert 2 == coordinator.answer.live


def test_another_ones_index_cannot_be_spoken_for() -> None:
    """A node whose index is known cannot send in the name of another."""
    with running(2) as (coordinator, nodes), zmq.Context() as context, context.socket(zmq.DEALER) as liar:
        liar.set(zmq.LINGER, 0)
        liar.connect(coordinator.address)
        liar.send(encode(Heartbeat(7, 0)))
        liar.send(encode(Violation(0, 0, ViolationKind.SAFE_ZONE, np.array([0.0, 99.0]))))
        liar.send(encode(Goodbye(1)))
        pump(lambda: coordinator.refused == 2, coordinator, *nodes)
        assert 0.0 == coordinator.answer.value


def test_a_wrong_dimension_is_refused_by_both_ends() -> None:
    """The coordinator does not take a vector of another size, nor does a node take such a zone or slack."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with NodeEndpoint(0, SADDLE, f"tcp://127.0.0.1:{port}", **FAST) as node:
            node.update(np.zeros(2))
            pump(lambda: router.poll(0), node)
            address = router.recv_multipart()[0]
            wide = DcZone(np.zeros(3), 0.0, np.zeros(3), -1.0, 1.0, 0.0, True)
            outside = DcZone(np.zeros(2), 0.0, np.zeros(2), -1.0, 1.0, 0.0, True, radius=-1.0)
            for message in (
                Welcome(5),
                Constraint(version(1), wide, np.zeros(3)),
                Slack(version(1), np.zeros(3)),
                Constraint(version(1), outside, np.zeros(2)),
                Heartbeat(0, 0),
            ):
                router.send_multipart([address, encode(message)])
            pump(lambda: node.malformed == 4, node)
            assert 0 == node.version


def test_a_node_of_another_dimension_is_given_up() -> None:
    """What it sends is refused and counted; then nobody waits for it, and the endpoint says why."""
    wide = Function(lambda x: x.sum(), 3, gradient=lambda x: np.ones(3), hessian=np.zeros((3, 3)))
    with (
        CoordinatorEndpoint(SADDLE, 2, BOUND, ANY, **SLOW_LEASE) as coordinator,
        NodeEndpoint(0, SADDLE, coordinator.address, **FAST) as node,
        NodeEndpoint(1, wide, coordinator.address, **FAST) as other,
    ):
        node.update(np.zeros(2))
        other.update(np.zeros(3))
        pump(lambda: coordinator.unfit and node.version, coordinator, node, other)
        assert coordinator.refused >= MOST_REFUSALS
        assert "f takes vectors of shape (2,), got (3,)" in coordinator.unfit[1]
        assert (1, 1) == (coordinator.answer.live, coordinator.answer.lost)


def test_a_coordinator_restarts_from_its_checkpoint(tmp_path: Path) -> None:
    """After a crash it goes on with later versions, and with the nodes it had; they notice by a new constraint."""
    options: dict[str, Any] = {**SLOW_LEASE, "checkpoint": tmp_path / "coordinator"}
    with ExitStack() as stack:
        first = CoordinatorEndpoint(SADDLE, 2, BOUND, ANY, checkpoint_seconds=0.01, **options)
        first.open()
        address = first.address
        nodes = [stack.enter_context(NodeEndpoint(i, SADDLE, address, **FAST)) for i in range(2)]
        for node in nodes:
            node.update(np.zeros(2))
        pump(lambda: is_known(first, 0.0) and all(node.version for node in nodes), first, *nodes)
        before = first.answer.as_of
        crash(first)
        nodes[0].update(np.array([0.0, 6.0]))
        second = stack.enter_context(CoordinatorEndpoint(SADDLE, 2, BOUND, address, **options))
        pump(lambda: is_known(second, 9.0), second, *nodes)
        pump(lambda: {second.answer.as_of} == {node.version for node in nodes}, second, *nodes)
        assert second.answer.as_of > before


def crash(endpoint: CoordinatorEndpoint) -> None:
    """Ends an endpoint as kill -9 would: nothing is stored."""
    endpoint._path = None
    endpoint.close()


def test_nodes_follow_a_coordinator_that_lost_its_memory() -> None:
    """A coordinator that begins from nothing counts versions from 1 again; the nodes' old constraints are void."""
    with ExitStack() as stack:
        first = CoordinatorEndpoint(SADDLE, 2, BOUND, ANY, **SLOW_LEASE)
        first.open()
        address = first.address
        nodes = [stack.enter_context(NodeEndpoint(i, SADDLE, address, **FAST)) for i in range(2)]
        for height in range(4):
            for node in nodes:
                node.update(np.array([0.0, 2.0 * height]))
            pump(lambda height=height: is_known(first, 4.0 * height**2), first, *nodes)
        pump(lambda: all(node.version == first.answer.as_of for node in nodes), first, *nodes)
        old = first.answer.as_of
        first.close()
        second = stack.enter_context(CoordinatorEndpoint(SADDLE, 2, BOUND, address, **SLOW_LEASE))
        pump(
            lambda: is_known(second, 36.0) and all(node.version == second.answer.as_of for node in nodes),
            second,
            *nodes,
        )
        assert second.answer.as_of < old


def test_a_node_restarts_from_its_file(tmp_path: Path) -> None:
    """A node that was killed is the same node again at once; without its file it would wait for its lease."""
    with running(1) as (coordinator, nodes):
        file = tmp_path / "node"
        killed = NodeEndpoint(1, SADDLE, coordinator.address, file=file, **FAST)
        killed.open()
        killed.update(np.array([0.0, 4.0]))
        pump(
            lambda: is_known(coordinator, 4.0) and killed.version == coordinator.answer.as_of,
            coordinator,
            killed,
            *nodes,
        )
        killed._post = lambda message: True  # type: ignore[method-assign]  # no goodbye
        killed.close()
        with NodeEndpoint(1, SADDLE, coordinator.address, file=file, **FAST) as again:
            assert coordinator.answer.as_of == again.version
            again.update(np.array([0.0, 8.0]))
            pump(lambda: is_known(coordinator, 16.0), coordinator, again, *nodes)
            assert again.refusal is None
        with pytest.raises(MalformedMessage, match="state of node 1"):
            NodeEndpoint(2, SADDLE, coordinator.address, file=file).open()


def test_a_node_waits_for_a_coordinator_that_is_not_there() -> None:
    """Updates and steps go on without one, in bounded time, and what was missed is made up for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with NodeEndpoint(0, SADDLE, address, **FAST) as node:
        for height in range(200):
            node.update(np.array([0.0, float(height)]))
        node.step(0.3)
        assert not node.is_connected
        with CoordinatorEndpoint(SADDLE, 1, BOUND, address, **SLOW_LEASE) as coordinator:
            pump(lambda: is_known(coordinator, 199.0**2), coordinator, node)
            assert node.is_connected


def test_closing_twice_is_closing_once() -> None:
    """Both ends may be closed again, and opened again."""
    coordinator = CoordinatorEndpoint(SADDLE, 1, BOUND, ANY, **SLOW_LEASE)
    coordinator.open()
    coordinator.open()
    node = NodeEndpoint(0, SADDLE, coordinator.address, **FAST)
    for _ in range(2):
        node.open()
        node.open()
        node.close()
        node.close()
    coordinator.close()
    coordinator.close()


def test_an_address_in_use_is_an_error() -> None:
    """Two coordinators cannot listen on one port; the second raises and holds nothing."""
    with CoordinatorEndpoint(SADDLE, 1, BOUND, ANY) as first, pytest.raises(zmq.ZMQError):
        CoordinatorEndpoint(SADDLE, 1, BOUND, first.address).open()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CoordinatorEndpoint(SADDLE, 1, BOUND, retry_seconds=0.0), "retry_seconds must be > 0"),
        (lambda: CoordinatorEndpoint(SADDLE, 1, BOUND, lease_seconds=0.0), "lease_seconds must be > 0"),
        (lambda: CoordinatorEndpoint(SADDLE, 9, BOUND, most_nodes=8), "most_nodes"),
        (lambda: NodeEndpoint(-1, SADDLE, ANY), "index must be >= 0"),
        (lambda: NodeEndpoint(0, SADDLE, ANY, heartbeat_seconds=0.0), "heartbeat_seconds must be > 0"),
        (lambda: NodeEndpoint(0, SADDLE, ANY, retry_seconds=-1.0), "retry_seconds must be > 0"),
    ],
)
def test_wrong_arguments_are_refused_at_the_door(make: Callable[[], Any], match: str) -> None:
    """The constructor names the value."""
    with pytest.raises(ValueError, match=match):
        make()


def test_a_quiet_fleet_is_quiet_on_the_wire() -> None:
    """Inside their zones nodes send heartbeats and nothing else."""
    with running(2) as (coordinator, nodes):
        sent: Counter[str] = Counter()
        for node in nodes:
            node._end.link.encode = watched(node._end.link.encode, sent)  # type: ignore[method-assign]
        for _ in range(100):
            for node in nodes:
                node.update(np.full(2, 0.01))
        end = time.monotonic() + 0.5
        pump(lambda: time.monotonic() > end, coordinator, *nodes)
        assert {"Heartbeat"} == set(sent)


def watched(encode_one: Callable[[Any], bytes], sent: Counter[str]) -> Callable[[Any], bytes]:
    def watch(message: Any) -> bytes:
        sent[type(message).__name__] += 1
        return encode_one(message)

    return watch


def test_a_letter_to_nobody_is_lost() -> None:
    """What is sent to an index that is not there does no harm."""
    network = fleet(1)
    network.send(COORDINATOR, [Envelope(9, Request(0))])
    network.run()
    assert network.coordinator.answer.is_quiescent


def test_a_heartbeat_finds_a_slack_that_was_lost() -> None:
    """A node that missed its new slack says nothing; its heartbeat's version gives it away."""
    network = fleet(6)
    network.run()
    coordinator: Any = network.coordinator
    network.send(2, network.nodes[2].update(np.array([0.0, 1.0])))  # type: ignore[attr-defined]
    while [letter.to for letter in network.letters] != [0, 2] or coordinator.lazy_syncs == 0:
        network.deliver()
    network.lose(0)
    network.run()
    node: Any = network.nodes[0]
    assert node.state.version != coordinator.answer.as_of
    network.send(COORDINATOR, coordinator.heard(0, node.state.version))
    network.run()
    assert node.state.version == coordinator.answer.as_of
    assert np.allclose(sum(each.state.slack for each in network.nodes.values()), 0)  # type: ignore[attr-defined]
