"""Where the fleet's answers go while a run goes on: to a collector, from a thread of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from heflwr.live.posting import Poster
from heflwr.monitor import arguments

if TYPE_CHECKING:
    from heflwr.flower.entry import Entry
    from heflwr.flower.history.ledger import History
    from heflwr.flower.watch.fleet import Fleet
    from heflwr.flower.watch.lines import Settled

IDENTIFIER = "server"


class FleetPost:
    """A sink of the server's side: posts every settled answer to a collector; never waits, and keeps a bounded number.

    Example:
        >>> sinks = [FleetPost("http://127.0.0.1:8080")]
    """

    def __init__(
        self,
        url: str,
        *,
        identifier: str = IDENTIFIER,
        token: str | None = None,
        truth: Callable[[Settled], float | None] | None = None,
    ) -> None:
        """Remember where.

        Args:
            url: Of the collector, such as "http://127.0.0.1:8080".
            identifier: What the collector calls this server.
            token: The collector's, where it asks for one.
            truth: Gets what was settled, and returns the function's true value or None: for simulations, which know
                it; the collector's page draws it beside the value. What it raises is counted in `fleet.faults`.

        Raises:
            ValueError: The URL is none, or the identifier is empty or too long.
            TypeError: `truth` cannot be called.
        """
        if truth is not None and not callable(truth):
            raise TypeError(f"truth must be a function of what was settled, got {truth!r}")
        self._truth = truth
        self._url = url
        self._identifier = arguments.identifier(identifier)
        self._token = token
        self._poster: Poster | None = None
        Poster(url, identifier, token=token)  # says what is wrong with them

    @property
    def posted(self) -> int:
        """Answers that the collector has of this run."""
        return 0 if self._poster is None else self._poster.posted

    def open(self, history: History) -> None:
        self.close()
        self._poster = Poster(self._url, self._identifier, token=self._token)
        self._poster.__enter__()

    def watch(self, fleet: Fleet) -> None:
        """Post what is settled from now on."""
        fleet.listen(self._take)

    def sent(self, kind: str, round: int, nodes: int) -> None:
        pass

    def entry(self, entry: Entry) -> None:
        pass

    def close(self) -> None:
        if self._poster is not None:
            self._poster.__exit__(None, None, None)

    def _take(self, settled: list[Settled]) -> None:
        from heflwr.flower.watch.standings import standings

        if self._poster is None:
            return
        told, failure = standings(settled), None
        if self._truth is not None:
            for place, one in enumerate(settled):
                try:
                    told[place] = replace(told[place], truth=_number(self._truth(one)))
                except Exception as error:
                    failure = error
        self._poster.take(told)
        if failure is not None:
            raise failure


def _number(truth: float | None) -> float | None:
    """A finite number, or None."""
    return None if truth is None or not math.isfinite(truth) else float(truth)
