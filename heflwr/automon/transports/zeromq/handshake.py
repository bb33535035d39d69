"""What becomes of the connections of a socket: ZeroMQ tells it on a socket of its own."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import zmq
from zmq.utils.monitor import recv_monitor_message

LINGER_MILLISECONDS = 500
"""How long a socket waits at most, when it is closed, for what was sent last: a goodbye."""

IDLE_SECONDS = 5.0
"""Between two signs of life that ZeroMQ itself exchanges: the mapping of a NAT stays, a dead connection is found."""

HANDSHAKE_EVENTS = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
)
"""What a socket is asked to tell."""


class Handshake(Enum):
    """What became of a connection."""

    OPEN = "open"
    """Under way, or never tried."""
    DONE = "done"
    UNKNOWN_KEY = "the coordinator does not know this key"
    BROKEN_OFF = (
        "the other side ended the handshake: it has another key than is expected, wants keys where there are none, or "
        "is no coordinator"
    )


_OUTCOMES: dict[int, Handshake] = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: Handshake.DONE,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: Handshake.UNKNOWN_KEY,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: Handshake.BROKEN_OFF,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: Handshake.BROKEN_OFF,
}


def handshakes(events: zmq.Socket[bytes]) -> Iterator[Handshake]:
    """Yield what a socket's monitor tells of, without waiting."""
    while events.poll(0):
        yield _OUTCOMES[recv_monitor_message(events)["event"]]
