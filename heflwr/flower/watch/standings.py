"""What was settled as plain values: for Prometheus and for a collector."""

from __future__ import annotations

import math
from collections.abc import Iterable

from heflwr.flower.watch.lines import Settled
from heflwr.live.standing import Standing


def standings(settled: Iterable[Settled]) -> list[Standing]:
    """Return a standing a function; value and bound None where they are not known."""
    return [
        Standing(
            name=one.name,
            unit=one.unit,
            guarantee=one.answer.guarantee.value,
            reason=one.answer.reason,
            value=_known(one.answer.value),
            bound=_known(one.answer.bound),
            live=one.answer.live,
            stale=one.answer.stale,
            lost=one.answer.lost,
            messages=one.reports,
            updates=one.replies,
            round=one.round,
        )
        for one in settled
    ]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
