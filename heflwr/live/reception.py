"""What a coordinator of the live channel makes of the frames that arrive, and of time; without a socket.

The law: a frame counts only from an address that has a seat, and with keys only under the name of the key that its
connection was made with; what is carried must speak of the seat's own index. What fits nothing is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from heflwr import __version__
from heflwr.automon import codec
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Report, Vector, Violation
from heflwr.live import frames
from heflwr.live.frames import Beat, Bye, Carried, Hello, Reason, Refusal, Stranger, Welcome

if TYPE_CHECKING:
    from heflwr.automon.messages import Envelope
    from heflwr.automon.transports.zeromq.listener import Arrival
    from heflwr.live.keys import Accepted
    from heflwr.live.registry import Registry, Seat
    from heflwr.live.watched import Watched
    from heflwr.live.watches import Watches

MOST_REMEMBERED = 1000
"""Refusals that are not told again: an agent that is refused knocks every second."""

FORGET_SECONDS = 60.0
"""When there are so many, no other one is told before: whoever draws keys at random must not fill a disk."""


class Reception:
    """Lets agents in, hands on what they say, and gives up those that are silent.

    Args:
        watches: What is watched.
        watched: The same at work, in that order.
        registry: Of the agents.
        accepted: Whose keys are taken; None: there are no keys.
        session: Drawn when the coordinator began from nothing.
        post: Sends bytes to an address; False where nobody is there.
        on_event: Gets a line when somebody comes, goes or is refused.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        watches: Watches,
        watched: tuple[Watched, ...],
        registry: Registry,
        accepted: Accepted | None,
        session: int,
        post: Callable[[bytes, bytes], bool],
        on_event: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._watches, self._watched, self._registry, self._accepted = watches, watched, registry, accepted
        self._session, self._send_bytes, self._on_event, self._clock = session, post, on_event, clock
        self._refusals: set[str] = set()
        self._forgotten_at = clock()
        self.malformed = 0
        """What arrived and was no message of an agent."""
        self.refused = 0
        """What came from agents that have no seat, or spoke for another."""

    def weigh(self) -> None:
        """Gives the functions what has arrived for them, together."""
        for number, watched in enumerate(self._watched):
            self._send(number, watched.weigh())

    def resend(self) -> None:
        """Asks again what is unanswered."""
        for number, watched in enumerate(self._watched):
            self._send(number, watched.resend())

    def expire(self) -> None:
        """Gives up who was silent for a lease."""
        for index in self._registry.expired(self._clock()):
            self._on_event(f"{self._named(index)} is lost: nothing was heard for a lease")
            self._lose(index)

    def name_of(self, key: str) -> str | None:
        """Return whose key it is that somebody wants to connect with; None: it is not let in."""
        assert self._accepted is not None
        self._accepted.refresh()
        name = self._accepted.name_of(key)
        if name is None:
            self._tell_once(f"refused an unknown key: {key}; `heflwr keys add FOLDER NAME KEY` lets it in")
        return name

    def take(self, arrival: Arrival | None) -> None:
        """Takes a message; None is one that has no single part."""
        if arrival is None:
            self.malformed += 1
            return
        try:
            frame = frames.decode(arrival.data)
        except frames.OtherFormat as error:
            self._refuse(arrival, Reason.VERSION, f"{error}; the coordinator has heflwr {__version__}")
            return
        except MalformedMessage:
            self.malformed += 1
            return
        if isinstance(frame, Hello):
            self._hello(arrival, frame)
            return
        seat = self._registry.at(arrival.address)
        if seat is None or not self._is_own(seat, arrival):
            self.refused += 1
            if not isinstance(frame, Bye):
                self._post(arrival.address, Stranger())
            return
        if isinstance(frame, Bye):
            self._on_event(f"{seat.identifier} said goodbye")
            self._registry.leave(seat)
            self._lose(seat.index)
            return
        seat.heard_at = self._clock()
        if isinstance(frame, Beat):
            self._beat(seat, frame)
        elif isinstance(frame, Carried):
            self._carried(seat, frame)
        else:
            self.malformed += 1

    def _hello(self, arrival: Arrival, hello: Hello) -> None:
        name = hello.identifier or arrival.name
        if hello.protocol != codec.FORMAT:
            self._refuse(
                arrival,
                Reason.VERSION,
                f"the agent's heflwr {hello.program} speaks another protocol than the coordinator's {__version__}; "
                "have the same version on both sides",
            )
        elif not name or (self._accepted is not None and name != arrival.name):
            self._refuse(arrival, Reason.NAME, f"the key is {arrival.name!r}'s, the agent calls itself {name!r}")
        elif self._accepted is not None and name not in self._accepted:
            self._refuse(arrival, Reason.NAME, f"the key of {name!r} has been taken away")
        elif hello.fingerprint != self._watches.fingerprint:
            self._refuse(
                arrival,
                Reason.WATCHES,
                f"{name!r} watches other functions: its list is {hello.fingerprint}, the coordinator's "
                f"{self._watches.fingerprint} ({self._watches.description}); use the same file on both sides",
            )
        else:
            self._seat(arrival, name)

    def _seat(self, arrival: Arrival, name: str) -> None:
        holder = self._registry.holder(name)
        if holder is not None and holder != arrival.address:
            seat = self._registry.at(holder)
            if seat is not None and not self._post(holder, self._welcome(seat)):  # its connection is gone
                self._registry.leave(seat)
        is_new = self._registry.at(arrival.address) is None
        found = self._registry.hello(name, arrival.address, self._clock())
        if isinstance(found, Reason):
            why = "has no room for another agent" if found is Reason.FULL else f"has {name!r} on another connection"
            self._refuse(arrival, found, f"the coordinator {why}")
            return
        if is_new:
            self._on_event(f"{name} takes part")
        self._post(arrival.address, self._welcome(found))

    def _beat(self, seat: Seat, beat: Beat) -> None:
        if len(beat.pulses) != len(self._watched):
            self.malformed += 1
            return
        self._post(seat.address, self._welcome(seat))
        for number, (watched, pulse) in enumerate(zip(self._watched, beat.pulses, strict=True)):
            if pulse.is_present:
                self._send(number, watched.weigh())
                self._send(number, watched.heard(seat, pulse.version, pulse.sequence, pulse.updates))
            else:
                self._send(number, watched.lose(seat.index))

    def _carried(self, seat: Seat, carried: Carried) -> None:
        try:
            message = codec.decode(carried.data)
        except MalformedMessage:
            self.malformed += 1
            return
        is_ours = isinstance(message, Report | Vector | Violation) and carried.function < len(self._watched)
        if not is_ours:
            self.malformed += 1
        elif message.node != seat.index:  # type: ignore[union-attr]
            self.refused += 1
        else:
            self._watched[carried.function].arrived(seat, message)  # type: ignore[arg-type]

    def _is_own(self, seat: Seat, arrival: Arrival) -> bool:
        """Whether the key of the connection still stands for the seat's name."""
        return self._accepted is None or (arrival.name == seat.identifier and seat.identifier in self._accepted)

    def _lose(self, index: int) -> None:
        for number, watched in enumerate(self._watched):
            self._send(number, watched.lose(index))

    def _named(self, index: int) -> str:
        return next((name for name, known in self._registry.indices.items() if known == index), f"agent {index}")

    def _tell_once(self, text: str) -> None:
        if text in self._refusals:
            return
        if len(self._refusals) >= MOST_REMEMBERED:
            if self._clock() - self._forgotten_at < FORGET_SECONDS:
                return
            self._refusals.clear()
            self._forgotten_at = self._clock()
        self._refusals.add(text)
        self._on_event(text)

    # What goes out

    def _welcome(self, seat: Seat) -> Welcome:
        return Welcome(self._session, seat.index, int(1000 * self._registry.heartbeat_seconds))

    def _refuse(self, arrival: Arrival, reason: Reason, text: str) -> None:
        self.refused += 1
        self._tell_once(f"refused {arrival.name or 'an agent'}: {text}")
        self._post(arrival.address, Refusal(reason, text))

    def _send(self, number: int, envelopes: list[Envelope]) -> None:
        watched = self._watched[number]
        for envelope in envelopes:
            address = self._registry.address(envelope.to)
            data = None if address is None else watched.encode(envelope)
            if data is not None and self._post(address, Carried(number, data)):
                watched.sent()

    def _post(self, address: bytes | None, frame: frames.Frame) -> bool:
        return address is not None and self._send_bytes(address, frames.encode(frame))
