"""Seats: who has which index, for how long; a law that holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from heflwr.live.frames import Reason
from heflwr.live.registry import Registry, Seat


class Seats(RuleBasedStateMachine):
    """Agents come from anywhere under any name, leave, and are silent."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(4, 2, 10.0)
        self.now = 0.0
        self.had: dict[str, int] = {}

    @rule(name=st.sampled_from("abcdef"), address=st.sampled_from([b"1", b"2", b"3", b"4", b"5"]))
    def hello(self, name: str, address: bytes) -> None:
        holder = self.registry.holder(name)
        found = self.registry.hello(name, address, self.now)
        if isinstance(found, Seat):
            assert holder in (None, address)
            assert (address, name) == (found.address, found.identifier)
            assert self.registry.at(address) is found
            assert address == self.registry.address(found.index)
        elif found is Reason.FULL:
            assert all(self.registry.holder(other) for other in self.registry.indices)

    @rule(address=st.sampled_from([b"1", b"2", b"3"]))
    def leave(self, address: bytes) -> None:
        seat = self.registry.at(address)
        if seat is not None:
            self.registry.leave(seat)
            assert self.registry.address(seat.index) is None

    @rule(seconds=st.floats(0, 15), heard=st.sets(st.sampled_from([b"1", b"2", b"3", b"4", b"5"])))
    def wait(self, seconds: float, heard: set[bytes]) -> None:
        self.now += seconds
        for address in heard:
            if (seat := self.registry.at(address)) is not None:
                seat.heard_at = self.now
        for index in self.registry.expired(self.now):
            assert self.registry.address(index) is None
        assert all(self.now - seat.heard_at <= 10 for seat in self.here())

    def here(self) -> list[Seat]:
        found = [self.registry.at(address) for address in (b"1", b"2", b"3", b"4", b"5")]
        return [seat for seat in found if seat is not None]

    @invariant()
    def nobody_shares(self) -> None:
        indices = self.registry.indices
        assert len(set(indices.values())) == len(indices) <= 4
        assert len({seat.index for seat in self.here()}) == len(self.here())
        assert all(index < 4 for index in indices.values())


TestSeats = Seats.TestCase
TestSeats.settings = __import__("hypothesis").settings(max_examples=30, stateful_step_count=25, deadline=None)


@given(st.integers(1, 5))
def test_those_that_never_come_are_given_up_once(expected: int) -> None:
    """One lease after the first has come; before, nobody is missing."""
    registry = Registry(5, expected, 10.0)
    assert [] == registry.expired(1e6)
    seat = registry.hello("a", b"1", 1e6)
    assert isinstance(seat, Seat)
    assert [] == registry.expired(1e6 + 9)
    seat.heard_at = 1e6 + 11
    assert list(range(1, expected)) == registry.expired(1e6 + 11)
    assert [] == registry.expired(1e6 + 12)


def test_silence_is_doubted_before_it_ends_the_lease() -> None:
    """Two missed heartbeats make an agent quiet; a lease has four."""
    registry = Registry(2, 1, 8.0)
    registry.hello("a", b"1", 0.0)
    assert 2.0 == registry.heartbeat_seconds
    assert [[], ["a"]] == [registry.quiet(4.9), registry.quiet(5.1)]


@pytest.mark.parametrize(
    ("most", "expected", "lease"), [(0, 1, 1.0), (1, 2, 1.0), (1, 0, 1.0), (1, 1, 0.0), (1, 1, 1e400)]
)
def test_impossible_registries_are_refused(most: int, expected: int, lease: float) -> None:
    """No seats, more expected than there are, no lease."""
    with pytest.raises(ValueError, match="must be"):
        Registry(most, expected, lease)
