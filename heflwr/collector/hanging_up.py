"""Whether the other side of a connection has closed it, without reading from it."""

from __future__ import annotations

import select

_EVENTS = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


def has_hung_up(fd: int) -> bool:
    """Return whether the peer of a TCP socket has closed or reset it; where the system cannot tell (Windows), False."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, _EVENTS)
    return bool(poll.poll(0))
