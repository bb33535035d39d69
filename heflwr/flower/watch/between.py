"""The live channel's agent inside a resident agent: a thread that samples and speaks until it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heflwr.live.agent import Agent

END_SECONDS = 2.0
"""How long the end may take: a goodbye is said meanwhile."""

WELL = "takes part"


class Between:
    """Speaks to the coordinator between `start` and `stop`; whatever fails in it costs the others nothing.

    Args:
        plan: What `LiveChannel.plan` gave.
        identifier: What it is called where there are no keys.
        pid: The process that it watches, with its children.
    """

    def __init__(self, plan: Mapping[str, Any], identifier: str, pid: int) -> None:
        self._plan, self._identifier, self._pid = plan, identifier, pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heflwr-live", daemon=True)
        self._agent: Agent | None = None
        self._said = "it is starting"

    @property
    def note(self) -> str:
        """Why it takes no part; "" where it does."""
        return "" if self._said == WELL else f"live channel: {self._said}"

    @property
    def facts(self) -> dict[str, int | bool]:
        """What it did so far: local vectors and messages."""
        agent = self._agent
        if agent is None:
            return {"is_taking_part": False, "updates": 0, "messages": 0}
        return {"is_taking_part": agent.is_taking_part, "updates": agent.updates, "messages": agent.messages}

    def start(self) -> None:
        """Begin; what it takes is loaded in the thread, so that nobody waits for it."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and end, END_SECONDS at most."""
        self._stop.set()
        self._thread.join(END_SECONDS)

    def _work(self) -> None:
        try:
            from heflwr.flower.watch.channel import agent_of

            self._agent = agent_of(self._plan, self._identifier, self._pid, self._hear)
            self._agent.run(self._stop)
        except Exception as error:
            self._said = f"{type(error).__name__}: {error}"

    def _hear(self, text: str) -> None:
        self._said = text
