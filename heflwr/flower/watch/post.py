"""Where the fleet's answers go while a run goes on: to a collector, from a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heflwr.live.posting import Poster
from heflwr.monitor import arguments

if TYPE_CHECKING:
    from heflwr.flower.entry import Entry
    from heflwr.flower.history.ledger import History
    from heflwr.flower.watch.fleet import Fleet, Settled

IDENTIFIER = "server"


class FleetPost:
    """A sink of the server's side: posts every settled answer to a collector; never waits, and keeps a bounded number.

    Example:
        >>> sinks = [FleetPost("http://127.0.0.1:8080")]
    """

    def __init__(self, url: str, *, identifier: str = IDENTIFIER, token: str | None = None) -> None:
        """Remember where.

        Args:
            url: Of the collector, such as "http://127.0.0.1:8080".
            identifier: What the collector calls this server.
            token: The collector's, where it asks for one.

        Raises:
            ValueError: The URL is none, or the identifier is empty or too long.
        """
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

        if self._poster is not None:
            self._poster.take(standings(settled))
