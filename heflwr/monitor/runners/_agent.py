"""The child process that samples its parent: plan in on stdin, frames out on stdout, ends when stdin does.

It is a plain child, never a fork: it starts in a tenth of a second whatever the parent has loaded and however many
threads it runs, from scripts without an `if __name__` guard and from daemonic workers too. It ends with its parent,
however that ends.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from heflwr.monitor.errors import MonitorError
from heflwr.monitor.runners import _frames as frames
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import MARK, STOP, SYNC, TELL, Inbox, Sampling

BATCH_SECONDS = 0.5
"""Samples reach the parent in batches this old at most: waking it costs more than the sample itself."""

ORPHAN_SECONDS = 1.0
"""How often to look whether the parent still lives, for the case that someone else holds our stdin open."""

_WAY_OUT = "the classes of sinks must be importable there, or use runner='thread'"

_COMMANDS = {command[:4].encode(): command for command in (STOP, MARK, SYNC, TELL)}


class _Outlet:
    """Frames to the parent, in batches."""

    def __init__(self) -> None:
        self._stdout = os.dup(1)
        try:
            os.dup2(2, 1)  # what a sink or an import prints must not fall between the frames
        except OSError:  # the parent has no stderr
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout = sys.stderr
        self._batch = bytearray()
        self._sent_at = float("-inf")
        self._shape: struct.Struct | None = None

    def add(self, kind: int, payload: bytes) -> None:
        self._batch += frames.frame(kind, payload)

    def sample(self, sample: Sample, mark: int) -> None:
        if self._shape is None:
            self._shape = struct.Struct(f"<{len(sample.values)}d")
        head = frames.SAMPLE_HEAD.pack(mark, sample.sequence, sample.time, sample.elapsed)
        self.add(frames.SAMPLE, head + self._shape.pack(*sample.values))
        if mark or time.monotonic() - self._sent_at >= BATCH_SECONDS:
            self.send()

    def send(self) -> None:
        batch = memoryview(self._batch)
        self._batch = bytearray()
        self._sent_at = time.monotonic()
        try:
            while batch:
                batch = batch[os.write(self._stdout, batch) :]
        except BrokenPipeError:
            pass  # the parent is gone; the inbox hears of it too


class _ParentedInbox(Inbox):
    """An inbox that also hears when the parent is gone.

    Attributes:
        is_cut: Commands have ended, and none of them was to stop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parent = os.getppid()
        self.is_cut = False

    @property
    def is_orphaned(self) -> bool:
        """Whether the parent ended without a word; its last files are closed a moment before it has no children."""
        return self.is_cut or os.getppid() != self._parent

    def wait(self, seconds: float) -> tuple[str, Any] | None:
        command = super().wait(min(seconds, ORPHAN_SECONDS))
        return (STOP, 0) if command is None and os.getppid() != self._parent else command


def _go_on(number: int, stack: object) -> None:
    """Handle a signal by doing nothing; unlike SIG_IGN this is not inherited by a probe's child process."""


def main() -> None:
    """Read a plan, carry it out, leave."""
    stdin = sys.stdin.buffer
    inbox = _ParentedInbox()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # often sent to a whole group: we end when the parent does
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _go_on)
    outlet = _Outlet()
    try:
        (length,) = struct.unpack("<I", stdin.read(4))
        plan = pickle.loads(stdin.read(length))  # from our own parent, over an anonymous pipe
        sampling = Sampling(plan, outlet.sample)
        sampling.open()
    except Exception as error:
        name = type(error).__name__ if isinstance(error, MonitorError) else "AgentUnavailable"
        text = str(error) if isinstance(error, MonitorError) else f"the sampling child failed: {error!r}; {_WAY_OUT}"
        outlet.add(frames.REFUSED, json.dumps([name, text]).encode())
        outlet.send()
        os._exit(1)

    def listen() -> None:
        is_told = False
        while len(data := stdin.read(frames.COMMAND.size)) == frames.COMMAND.size:
            code, token = frames.COMMAND.unpack(data)
            command = _COMMANDS[code]
            is_told |= command == STOP
            inbox.put(command, stdin.read(token).decode() if command == TELL else token)
        inbox.is_cut = not is_told
        inbox.put(STOP)

    def report(kind: int) -> None:
        outlet.add(kind, json.dumps(asdict(sampling.report)).encode())

    def on_sync(token: int) -> None:
        sampling.refresh_report()
        report(frames.REPORT)
        outlet.add(frames.SYNCED, frames.TOKEN.pack(token))
        outlet.send()

    report(frames.READY)
    outlet.send()
    threading.Thread(target=listen, name="heflwr-agent-stdin", daemon=True).start()
    try:
        sampling.run(inbox, on_sync)
    except BaseException as error:  # a defect of ours: it must show in the parent's health
        sampling.report.failure = f"the sampling child ended: {error!r}"
    sampling.close(is_orphaned=inbox.is_orphaned)
    report(frames.BYE)
    outlet.send()
    os._exit(0)  # the listener sits in read(): an orderly interpreter exit would wait for it
