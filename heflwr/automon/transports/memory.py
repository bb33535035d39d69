"""All in one process: envelopes wait in a list, and whoever drives it says which arrives, is lost or arrives twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from heflwr.automon.codec import decode
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import COORDINATOR, Constraint, Envelope, Request, Slack
from heflwr.automon.protocols.machine import CoordinatorMachine, NodeMachine
from heflwr.automon.transports.link import CoordinatorLink, NodeLink


@dataclass(frozen=True)
class Letter:
    """Bytes on their way."""

    sender: int
    to: int
    data: bytes
    is_ready_at: int = 0
    """The tick from which it may arrive."""


class MemoryNetwork:
    """A coordinator and its nodes, joined by bytes in memory.

    Drive it by hand with `deliver`, `repeat` and `lose`, each of a place in `letters`; or let `tick` choose by chance.

    Args:
        coordinator: May be replaced at any time, as by a restart; give it a new link with `reconnect` then.
        nodes: By index; may change at any time. What is sent to an index that is not there is lost.
        seed: Of the choices of `tick`.
        loss: Share of the letters that `tick` loses, 0 to 1.
        duplication: Share of the letters that `tick` delivers and keeps, 0 to 1.
        delay: Ticks that a letter waits at most; each draws its own.
        is_ordered: Whether the letters of `tick` arrive in the order in which they were sent.
    """

    def __init__(
        self,
        coordinator: CoordinatorMachine,
        nodes: MutableMapping[int, NodeMachine],
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay: int = 0,
        is_ordered: bool = True,
    ) -> None:
        for name, share in (("loss", loss), ("duplication", duplication)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {share}")
        if delay < 0:
            raise ValueError(f"delay must be >= 0, got {delay}")
        self.coordinator = coordinator
        self.nodes = nodes
        self.letters: list[Letter] = []
        self.malformed = 0
        """Letters that were no message, or none for their receiver."""
        self.payload_bytes = 0
        self._random = random.Random(seed)
        self._loss, self._duplication, self._delay, self._is_ordered = loss, duplication, delay, is_ordered
        self._now = 0
        self.reconnect(COORDINATOR)
        self._links: dict[int, NodeLink] = {}

    def reconnect(self, address: int) -> None:
        """A process began anew there: it remembers nothing of what was said before."""
        if address == COORDINATOR:
            self._link = CoordinatorLink()
        else:
            self._links.pop(address, None)

    def send(self, sender: int, envelopes: Iterable[Envelope]) -> None:
        """Puts envelopes on their way, as bytes."""
        for envelope in envelopes:
            if sender == COORDINATOR:
                data = self._link.encode(envelope.to, envelope.message)
            else:
                data = self._links.setdefault(sender, NodeLink()).encode(envelope.message)
            self.payload_bytes += len(data)
            self.forge(sender, envelope.to, data)

    def forge(self, sender: int, to: int, data: bytes) -> None:
        """Puts any bytes on their way."""
        wait = self._random.randint(0, self._delay) if self._delay else 0
        self.letters.append(Letter(sender, to, data, self._now + wait))

    def lose(self, place: int = 0) -> None:
        """Drops a letter."""
        self.letters.pop(place)

    def repeat(self, place: int = 0) -> None:
        """Lets a letter arrive and keeps it, to arrive again."""
        self._arrive([self.letters[place]])

    def deliver(self, *places: int) -> None:
        """Lets letters arrive, the first one if none is named; those to the coordinator are given to it together."""
        chosen = [self.letters[place] for place in places or (0,)]
        for place in sorted(places or (0,), reverse=True):
            self.letters.pop(place)
        self._arrive(chosen)

    def tick(self) -> None:
        """Lets time pass by one, and all that is ready arrive, be lost or arrive and stay, by chance."""
        self._now += 1
        ready = [letter for letter in self.letters if letter.is_ready_at < self._now]
        self.letters = [letter for letter in self.letters if letter.is_ready_at >= self._now]
        if not self._is_ordered:
            self._random.shuffle(ready)
        arriving = [letter for letter in ready if self._random.random() >= self._loss]
        self.letters += [letter for letter in arriving if self._random.random() < self._duplication]
        self._arrive(arriving)

    def run(self, ticks: int = 1000) -> None:
        """Ticks until no letter is left.

        Raises:
            RuntimeError: Letters are left after so many ticks.
        """
        for _ in range(ticks):
            if not self.letters:
                return
            self.tick()
        raise RuntimeError(f"{len(self.letters)} letters are left after {ticks} ticks")

    def _arrive(self, letters: list[Letter]) -> None:
        """Hands letters over: those for nodes first, then those for the coordinator, all together."""
        messages = []
        for letter in letters:
            if letter.to != COORDINATOR:
                self._arrive_at_node(letter)
                continue
            try:
                message = decode(letter.data)
            except MalformedMessage:
                self.malformed += 1
                continue
            if getattr(message, "node", None) != letter.sender:
                self.malformed += 1
                continue
            self._link.received(letter.sender, message)  # type: ignore[arg-type]
            messages.append(message)
        if messages:
            self.send(COORDINATOR, self.coordinator.receive(*messages))  # type: ignore[arg-type]

    def _arrive_at_node(self, letter: Letter) -> None:
        node = self.nodes.get(letter.to)
        if node is None:
            return
        try:
            message = self._links.setdefault(letter.to, NodeLink()).decode(letter.data)
        except MalformedMessage:
            self.malformed += 1
            return
        if isinstance(message, Constraint | Slack | Request):
            self.send(letter.to, node.receive(message))
        else:
            self.malformed += 1
