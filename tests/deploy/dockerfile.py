"""What a Dockerfile says, instruction by instruction and stage by stage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next: what it begins with, and (INSTRUCTION, rest of the line) in order."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]


def stages(path: Path) -> dict[str, Stage]:
    """Return the stages by name."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    found: dict[str, Stage] = {}
    for block in re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]:
        first, *rest = [line.strip() for line in block.splitlines() if line.strip()]
        _, base, _, name = first.split()
        steps = tuple((line.split(None, 1)[0], line.split(None, 1)[1]) for line in rest)
        found[name] = Stage(name, base, steps)
    return found


def lineage(found: dict[str, Stage], name: str) -> list[Stage]:
    """Return a stage and those that it is made from, the eldest first."""
    chain = [found[name]]
    while chain[0].base in found:
        chain.insert(0, found[chain[0].base])
    return chain


def environment(found: dict[str, Stage], name: str) -> dict[str, str]:
    """Return what ENV sets in a stage."""
    pairs = [pair for stage in lineage(found, name) for rest in stage.all("ENV") for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)
