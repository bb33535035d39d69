"""What the server asks with one message for the functions that it watches, and what becomes of it on the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from heflwr.flower import records

if TYPE_CHECKING:
    from heflwr.flower.watch.client import Watcher

WATCHES_NOTHING = "this node's app watches nothing: give monitored(client_app, watch=...) the server's list"


class Turn:
    """One message that may have asks on it; they are taken off before anybody else sees it.

    Attributes:
        watcher: Who replies to them; a mod further inside may bring one, where the outer one has none.
    """

    def __init__(self, watcher: Watcher | None, message: Message, context: Context) -> None:
        self.watcher = watcher
        self._asked = records.detach(message, records.WATCH)
        remembered = context.state.get(records.WATCH) if self._asked is not None else None
        self._state = remembered if isinstance(remembered, ConfigRecord) else None

    @property
    def is_asked(self) -> bool:
        """Whether there are any."""
        return self._asked is not None

    def answer(self, context: Context, reply: Message, sample: Mapping[str, Any]) -> list[str]:
        """Reply what the call tells of the watched functions; return what went wrong, in words."""
        if self._asked is None:
            return []
        if self.watcher is None:
            from heflwr.flower.watch.client import refuse  # only who was asked loads what it takes

            refuse(reply, WATCHES_NOTHING)
            return [WATCHES_NOTHING]
        return self.watcher.after_call(self._asked, self._state, context, reply, sample)

    def query(self, message: Message, context: Context) -> Message:
        """Return the reply to a message that the server sent for our sake alone."""
        reply = Message(RecordDict(), reply_to=message)
        if self._asked is not None and self.watcher is not None:
            self.watcher.query(self._asked, self._state, context, reply)
        return reply
