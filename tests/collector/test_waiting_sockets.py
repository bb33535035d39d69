"""What is waited for may be closed by a thread at any moment."""

from __future__ import annotations

import socket

from heflwr.collector.watch import Watch


class Item:
    """A channel whose socket somebody closes while it is asked whether it wants to read."""

    accepting = False

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._fileno = ours.fileno()

    def readable(self) -> bool:
        self._socket.close()
        return True

    def writable(self) -> bool:
        return False


def test_who_goes_while_it_is_asked_disturbs_nobody() -> None:
    """It is not waited for; whoever has its number next is."""
    ours, theirs = socket.socketpair()
    items: dict[int, object] = {ours.fileno(): Item(ours)}
    watch = Watch(items)
    watch.changed(items[ours.fileno()])
    assert list(watch.wait(0)) == []
    number = next(iter(items))
    assert not watch.has(number)
    watch.close()
    theirs.close()
