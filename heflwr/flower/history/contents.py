"""What a file of a history holds, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field

from heflwr.flower.entry import Entry


@dataclass(slots=True)
class Contents:
    """One run.

    Attributes:
        entries: Its messages, in the order of the history.
        scores: The server's own metrics by round.
        overhead: The fields of `history.Overhead`.
        faults: How often each part of heflwr failed.
        last_fault: What the last failure was.
        bad_lines: Lines that were left out on reading: torn by a crash, or not ours.
    """

    entries: list[Entry] = field(default_factory=list)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    last_fault: str = ""
    bad_lines: int = 0
