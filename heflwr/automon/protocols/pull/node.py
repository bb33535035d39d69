"""The node of the pull protocol: a pure step from what it remembers and what it measured to what it replies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.zones.zone import Floats

LEARNING = 0.1
"""Weight of the newest vector in the mean, once there are more than ten."""

FORGETTING = 0.9
"""What a vector leaves of the misses before."""

ROOM = 0.7
"""An anchor is no further from the vector than this share of the way to the border."""


@dataclass(frozen=True, eq=False)
class Memory:
    """All that a node remembers of one watched function; a value that fits anywhere.

    Numbers of calls and reports tell what came later, so that a memory must not be gone back to: who cannot rule that
    out puts a clock in their place.
    """

    session: int
    """Random, > 0: tells this memory from one that was lost."""
    calls: int = 0
    """Local vectors so far."""
    sequence: int = 0
    """Reports so far."""
    version: int = 0
    """Of the zone; 0: none."""
    zone: Polytope | None = None
    anchor: Floats | None = None
    """What was reported last, shape (d,)."""
    last: Floats | None = None
    """The last local vector, shape (d,)."""
    mean: Floats | None = None
    """A running mean of them, shape (d,)."""
    misses: tuple[float, float] = (0.0, 0.0)
    """How far the vectors of late were from the one before, and from the mean before: squares, in zones."""


def step(memory: Memory, ask: Ask, x: Floats) -> tuple[Memory, Reply]:
    """Take a zone and a local vector; return what to remember and what to reply.

    | what the node finds | its reply |
    | --- | --- |
    | no anchor or no zone, or not of the version that is asked for | the vector |
    | the coordinator missed a report, or knows another session | an anchor, under a later sequence |
    | the drift from the anchor is outside the zone | an anchor, likewise |
    | it is inside | that it is |

    A new anchor is the vector itself; or, where vectors of late were closer to their mean than to one another, that
    mean, or what is towards it with the vector well inside the zone around it: noise is reported less often then.

    Args:
        memory: What `step` returned before; `Memory(session)` at first.
        ask: What came with the message.
        x: The local vector, shape (d,), finite.

    Raises:
        ValueError: x is not finite, or of another shape than before; nothing was remembered.
    """
    x = np.array(x, dtype=np.float64)
    known = memory.last if memory.last is not None else x
    if x.ndim != 1 or x.shape != known.shape:
        raise ValueError(f"a local vector must have shape {known.shape if known.ndim == 1 else '(d,)'}, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"a local vector must be finite, got {x}")
    if ask.zone is not None and ask.version != memory.version:
        memory = replace(memory, version=ask.version, zone=ask.zone)
    memory = _learnt(memory, x)
    zone = memory.zone if memory.version == ask.version else None
    if zone is not None and zone.reach.shape != x.shape:
        zone = None
    version = memory.version if zone is not None else 0
    is_agreed = ask.session == memory.session and ask.sequence == memory.sequence
    if zone is not None and is_agreed and memory.anchor is not None and zone.violation(x - memory.anchor) is None:
        return memory, Reply(memory.session, memory.calls, memory.sequence, version, None)
    later = max(memory.sequence, ask.sequence if ask.session == memory.session else 0) + 1
    anchor = _anchor(memory, x, zone)
    memory = replace(memory, sequence=later, anchor=anchor)
    return memory, Reply(memory.session, memory.calls, later, version, anchor, is_exact=np.array_equal(anchor, x))


def _learnt(memory: Memory, x: Floats) -> Memory:
    """The memory with one more vector in it."""
    calls = memory.calls + 1
    if memory.last is None or memory.mean is None:
        return replace(memory, calls=calls, last=x, mean=x)
    misses = memory.misses
    if memory.zone is not None and memory.zone.reach.shape == x.shape:
        newest = (min(memory.zone.gauge(x - one), FURTHEST) for one in (memory.last, memory.mean))
        misses = tuple(FORGETTING * miss + new * new for miss, new in zip(misses, newest, strict=True))  # type: ignore[assignment]
    mean = memory.mean + max(LEARNING, 1 / calls) * (x - memory.mean)
    return replace(memory, calls=calls, last=x, mean=mean, misses=misses)


def _anchor(memory: Memory, x: Floats, zone: Polytope | None) -> Floats:
    """What is to stand for x from now on; x is in the zone around it."""
    last, mean = memory.misses
    if zone is None or memory.mean is None or not mean < min(last, HOPELESS):
        return x
    way = memory.mean - x
    gauge = zone.gauge(-way)
    anchor = x + min(1.0, ROOM / gauge) * way if gauge > 0 else x
    return anchor if zone.violation(x - anchor) is None else x


HOPELESS = 20.0
"""Misses of a mean that keeps no vector in its zone: then the vector itself tells the coordinator more."""

FURTHEST = 8.0
"""A miss counts no more zones than this."""
