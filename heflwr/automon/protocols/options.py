"""The options of each protocol, and what to say of one that it does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GM = ("sync", "slack", "radius", "may_double", "lazy_share", "guarantee", "derivation")
TAILORED = ("sync", "slack")

OPTIONS: Mapping[str, Sequence[str]] = {
    "auto": ("guarantee",),
    "oneway": ("guarantee",),
    "gm": GM,
    "centralization": (),
    "periodic": ("period",),
    "rlv": TAILORED,
    "cb": TAILORED,
    "gm-ball": TAILORED,
    "entropy": (*TAILORED, "smoothing"),
    "variance": TAILORED,
}
"""By protocol; all have a seed besides."""


def check_options(protocol: str, options: Mapping[str, object]) -> None:
    """Check the options for a protocol of OPTIONS.

    Raises:
        TypeError: It does not have one of them.
    """
    known = (*OPTIONS[protocol], "seed")
    for name in options:
        if name not in known:
            others = [repr(other) for other, theirs in OPTIONS.items() if name in theirs]
            hint = f"; protocol {' or '.join(others)} has it" if others else ""
            raise TypeError(f"protocol {protocol!r} has no option {name!r}, only {', '.join(known)}{hint}")
