"""The agent of the live channel: it samples its machine, and speaks only where a vector leaves its zone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from heflwr import __version__
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.transports.zeromq.handshake import Handshake
from heflwr.live import frames
from heflwr.live.channel import Channel
from heflwr.live.ends import dialer_to
from heflwr.live.frames import Beat, Bye, Carried, Hello, Refusal, Stranger, Welcome
from heflwr.live.sampling import Sampler
from heflwr.monitor import arguments

if TYPE_CHECKING:
    from heflwr.automon.messages import Message
    from heflwr.live.watches import Watches

CONNECT = "127.0.0.1:7100"
INTERVAL_SECONDS = 1.0
KNOCK_SECONDS = 0.5
"""Between two Hellos."""
REFUSED_SECONDS = 3.0
"""Between two Hellos, or two tries to connect, after a refusal: a key or a list may be put right meanwhile."""
RETRY_SECONDS = 1.0
"""After which what is unanswered is said again."""
SILENT_HEARTBEATS = 3
"""A coordinator that answers none of so many heartbeats in a row is away."""
STEP_SECONDS = 0.1
"""How long a sample may wait."""
FRESH_INTERVALS = 5
"""A function whose last vector is older than so many intervals, and FRESH_SECONDS, has none."""
FRESH_SECONDS = 3.0
REFUSED_HANDSHAKES = (Handshake.UNKNOWN_KEY, Handshake.BROKEN_OFF)
SILENT = "the coordinator is silent"


class Agent:
    """Feeds the nodes of all watched functions, and connects out to their coordinator, for ever.

    It keeps no file: an agent that begins anew says one message a function.

    Args:
        watches: What is watched; the coordinator has the same list.
        connect: HOST:PORT of the coordinator, or https://HOST:PORT; it may be away for any time.
        keys: Folder of the agent's keys (`heflwr.live.keys`); None: only for a coordinator on this machine.
        identifier: Its name; with keys default what the coordinator calls the key, else the host's.
        interval: Seconds between samples.
        pid: The process to watch with its descendants; None: the whole machine.
        values: JSON file with more metrics: an object of numbers, read at each sample.
        on_event: Gets a line when it takes part, is refused or hears nothing.
        clock: Seconds that never go back.

    Raises:
        ValueError: An argument is out of range, or a metric comes from nowhere.
        WrongKeys: The folder of keys cannot be used.
    """

    def __init__(
        self,
        watches: Watches,
        connect: str = CONNECT,
        keys: str | Path | None = None,
        *,
        identifier: str | None = None,
        interval: float = INTERVAL_SECONDS,
        pid: int | None = None,
        values: str | Path | None = None,
        on_event: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialer = dialer_to(connect, None if keys is None else Path(keys))
        self._identifier = "" if identifier is None and keys is not None else arguments.identifier(identifier)
        self._watches, self._on_event, self._clock = watches, on_event, clock
        self._sampler = Sampler(watches.metrics, interval, pid, None if values is None else Path(values))
        fresh_seconds = max(FRESH_SECONDS, FRESH_INTERVALS * interval)
        self._channels = [Channel(watch, RETRY_SECONDS, fresh_seconds, clock) for watch in watches]
        self._welcome: Welcome | None = None
        self._session: int | None = None
        self._told = ""
        self._problem = ""
        self._connections = 0
        self._speak_at = 0.0  # when to say Hello, or a heartbeat
        self._heard_at = 0.0
        self.malformed = 0
        """What arrived and was no message of a coordinator."""
        self.messages = 0
        """Messages of the functions' protocols that were sent."""

    @property
    def updates(self) -> int:
        """Local vectors so far, of all functions: what telling all of them would have cost."""
        return sum(channel.updates for channel in self._channels)

    @property
    def is_taking_part(self) -> bool:
        """Whether the coordinator has let it in, and was heard of lately."""
        return self._welcome is not None and not self._is_away()

    def run(self, stop: threading.Event) -> None:
        """Samples and speaks until `stop` is set or there is nothing to sample any more; then says goodbye.

        Raises:
            MonitorError: A metric cannot be had on this machine, or the watched process has ended.
        """
        self._sampler.start()
        try:
            self._dialer.open()
            try:
                self._heard_at = self._clock()
                while not stop.is_set() and not self._sampler.failure:
                    self._step(STEP_SECONDS)
                self._post(Bye())
            finally:
                self._dialer.close()
        finally:
            self._sampler.stop()
        if not stop.is_set():
            self._say(f"nothing is sampled any more: {self._sampler.failure}")

    def _step(self, timeout_seconds: float) -> None:
        for data in self._dialer.receive(timeout_seconds):
            try:
                self._take(frames.decode(data if data is not None else b""))
            except MalformedMessage:
                self.malformed += 1
        samples = self._sampler.take()
        if self._sampler.values_problem != self._problem:
            self._problem = self._sampler.values_problem
            self._on_event(f"no numbers: {self._problem}" if self._problem else "the file with numbers can be read")
        for number, channel in enumerate(self._channels):
            self._send(number, channel.feed(samples))
        now = self._clock()
        if self._dialer.connections != self._connections:  # perhaps with a coordinator that has begun anew
            self._connections, self._speak_at = self._dialer.connections, now
        if now >= self._speak_at:
            self._speak(now)
        if self._welcome is not None:
            for number, channel in enumerate(self._channels):
                self._send(number, channel.due(now))

    # What arrives

    def _take(self, frame: frames.Frame) -> None:
        self._heard_at = self._clock()
        if isinstance(frame, Welcome):
            self._be_welcome(frame)
        elif isinstance(frame, Refusal):
            self._welcome = None
            self._speak_at = self._clock() + REFUSED_SECONDS
            self._say(f"refused: {frame.text}")
        elif isinstance(frame, Stranger):
            self._welcome = None
            self._speak_at = self._clock()
        elif isinstance(frame, Carried) and frame.function < len(self._channels) and self._welcome is not None:
            self._send(frame.function, self._channels[frame.function].take(frame.data))
        else:
            self.malformed += 1

    def _be_welcome(self, welcome: Welcome) -> None:
        before, self._welcome = self._welcome, welcome
        if before == welcome:
            if self._told == SILENT:
                self._say("takes part")
            return
        is_new = self._session != welcome.session
        self._session = welcome.session
        for number, channel in enumerate(self._channels):
            self._send(number, channel.seated(welcome.index, is_new))
        self._say("takes part")
        self._speak_at = self._clock()

    # What goes out

    def _speak(self, now: float) -> None:
        """Says Hello or a heartbeat, and notes when nobody answers."""
        if self._dialer.handshake in REFUSED_HANDSHAKES:  # a welcome of before is void, and somebody must try again
            self._welcome = None
        if self._welcome is None:
            self._speak_at = now + KNOCK_SECONDS
            self._knock(now)
            return
        seconds = self._welcome.heartbeat_milliseconds / 1000
        is_sent = self._post(Beat(tuple(channel.pulse(now) for channel in self._channels)))
        self._speak_at = now + (seconds if is_sent else min(KNOCK_SECONDS, seconds))
        if self._is_away():
            self._say(SILENT)

    def _knock(self, now: float) -> None:
        handshake = self._dialer.handshake
        if handshake in REFUSED_HANDSHAKES:
            self._say(f"cannot connect: {handshake.value}")
            self._dialer.reopen()
            self._speak_at = now + REFUSED_SECONDS
        else:
            self._post(Hello(self._identifier, self._watches.fingerprint, __version__))
            if now - self._heard_at > SILENT_HEARTBEATS * KNOCK_SECONDS:
                self._say("no coordinator answers yet")

    def _is_away(self) -> bool:
        if self._welcome is None:
            return False
        return self._clock() - self._heard_at > SILENT_HEARTBEATS * self._welcome.heartbeat_milliseconds / 1000

    def _send(self, number: int, messages: list[Message]) -> None:
        for message in messages:
            if self._post(Carried(number, self._channels[number].encode(message))):
                self.messages += 1

    def _post(self, frame: frames.Frame) -> bool:
        return self._dialer.send(frames.encode(frame))

    def _say(self, text: str) -> None:
        """Tells what is new."""
        if text != self._told:
            self._told = text
            self._on_event(text)
