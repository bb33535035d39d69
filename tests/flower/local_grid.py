"""A federation in one process, without Ray: messages go straight to the ClientApp, one Context a node.

Messages and replies are copied on their way, as a deployment would.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

RUN_ID = 7
SERVER_NODE_ID = 1


def take_identity() -> None:
    """From flwr 1.38 on, a Message asks the process who it is."""
    try:
        from flwr.supercore.task_identity import TaskIdentity
    except ImportError:
        return
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_NODE_ID, 1


class LocalGrid(Grid):
    """Flower's Grid over a ClientApp in the same process.

    Attributes:
        contexts: Each node's, by node id; its state survives from message to message.
        replies: Every reply as it left the client, before the server's side saw it.
        spoil: Changes a reply on its way, or loses it by returning None.
    """

    def __init__(self, app: ClientApp, nodes: int = 3) -> None:
        take_identity()
        self.app = app
        self.contexts = {
            100 + partition: Context(
                run_id=RUN_ID,
                node_id=100 + partition,
                node_config={"partition-id": partition, "num-partitions": nodes},
                state=RecordDict(),
                run_config={},
            )
            for partition in range(nodes)
        }
        self.replies: list[Message] = []
        self.spoil: Callable[[Message], Message | None] = lambda reply: reply
        self._ready: dict[str, Message] = {}

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        return SimpleNamespace(run_id=RUN_ID)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        ids = []
        for message in messages:  # a second time, as the grid of a deployment does
            ids.append(message.metadata.message_id)
            reply = self.spoil(self.handle(copy.deepcopy(message)))
            if reply is not None:
                self._ready[message.metadata.message_id] = reply
        return ids

    def handle(self, message: Message) -> Message:
        try:
            reply = self.app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:
            return Message(Error(code=0, reason=f"{type(error).__name__}: {error}"), reply_to=message)
        self.replies.append(reply)
        return copy.deepcopy(reply)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._ready.pop(message_id) for message_id in message_ids if message_id in self._ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def run_app(server: ServerApp, client: ClientApp, nodes: int = 3) -> LocalGrid:
    """Run a whole federation; return its grid, for what went through it."""
    grid = LocalGrid(client, nodes)
    server(grid, Context(run_id=RUN_ID, node_id=SERVER_NODE_ID, node_config={}, state=RecordDict(), run_config={}))
    return grid
