"""The one that knows the answer, whatever protocol it follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from heflwr.automon.arguments import check_error_bound, check_nodes
from heflwr.automon.function import check_function
from heflwr.automon.protocols import gm
from heflwr.automon.protocols.oneway import OnewayCoordinator, choose_certifier
from heflwr.automon.protocols.options import check_options

if TYPE_CHECKING:
    from heflwr.automon.answer import Answer
    from heflwr.automon.function import Function
    from heflwr.automon.messages import Envelope, Message
    from heflwr.automon.protocols.machine import LiveCoordinator

Protocol = Literal["auto", "oneway", "gm"]


class Coordinator:
    """Keeps f of the mean of the live nodes' vectors within a bound; sans-IO, so that anything may carry its messages.

    Whoever carries them owns the clock and says who came (`join`), who went (`lost`), what a node holds (`heard`), and
    when to ask again (`resend`). Nodes are `Node` objects, or programs that send the same.

    Args:
        function: What is monitored.
        nodes: How many nodes there are at the start, numbered from 0; the first answer waits for all of them.
        error_bound: > 0, finite.
        protocol: "auto" is what we recommend, now "oneway"; "gm" is AutoMon's.
        options: For "auto" and "oneway" `guarantee` and `seed`; for "gm" those of `protocols.gm.Coordinator`.

    Raises:
        TypeError: `function` is no Function, or the protocol does not have an option.
        ValueError: An argument is out of range, or f does not allow the guarantee that is asked for.
    """

    def __init__(
        self, function: Function, nodes: int, error_bound: float, protocol: Protocol = "auto", **options: Any
    ) -> None:
        _check(function, error_bound, protocol, options)
        check_nodes(nodes)
        self._machine: LiveCoordinator
        if protocol == "gm":
            self._machine = gm.Coordinator(function, nodes, error_bound, **options)
        else:
            found = choose_certifier(function, error_bound, **options)
            self._machine = OnewayCoordinator(function, nodes, error_bound, found)

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        function: Function,
        error_bound: float,
        protocol: Protocol = "auto",
        **options: Any,
    ) -> Coordinator:
        """The coordinator as it was; call `restart` on it before anything else, since nodes may have gone on.

        Args:
            state: What `state` gave.
            function: As before, as are all others; without `radius`, which the state holds.
            error_bound: As before.
            protocol: As before.
            options: As before.
        """
        _check(function, error_bound, protocol, options)
        coordinator = cls.__new__(cls)
        if protocol == "gm":
            coordinator._machine = gm.Coordinator.from_state(state, function, error_bound, **options)
        else:
            found = choose_certifier(function, error_bound, **options)
            coordinator._machine = OnewayCoordinator.from_state(state, function, error_bound, found)
        return coordinator

    @property
    def answer(self) -> Answer:
        """What is known now; its value is NaN before all first nodes were heard."""
        return self._machine.answer

    @property
    def state(self) -> dict[str, Any]:
        """All that has to survive a restart, as arrays; see `from_state` and `heflwr.automon.checkpoint`."""
        return self._machine.state

    @property
    def full_syncs(self) -> int:
        """How often all nodes got a new zone."""
        return self._machine.full_syncs

    @property
    def lazy_syncs(self) -> int:
        """How often only some nodes were written to."""
        return self._machine.lazy_syncs

    @property
    def refused(self) -> int:
        """Messages that no node of ours would send."""
        return self._machine.refused

    @property
    def unfit(self) -> dict[int, str]:
        """The nodes that were given up because all they sent was refused, by index, and why; they count as lost."""
        return self._machine.unfit

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages that arrived together are best given together."""
        return self._machine.receive(*messages)

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on. Does nothing for a live one."""
        return self._machine.join(node)

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone; its vector no longer counts. Does nothing for a node that is not live."""
        return self._machine.lost(node)

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told the version of its constraint and how many reports it sent (a heartbeat).

        One that missed something is told again.
        """
        return self._machine.heard(node, version, sequence)

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered; call it on a time-out."""
        return self._machine.resend()

    def restart(self) -> list[Envelope]:
        """Begins anew after `from_state`: with later versions than any before, and everybody's vector."""
        return self._machine.restart()


def _check(function: Function, error_bound: float, protocol: str, options: Mapping[str, Any]) -> None:
    check_function(function)
    check_error_bound(error_bound)
    if protocol not in ("auto", "oneway", "gm"):
        raise ValueError(f"protocol must be 'auto', 'oneway' or 'gm', got {protocol!r}")
    check_options(protocol, options)
