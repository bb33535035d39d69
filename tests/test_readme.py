"""README, tutorial, how-tos say nothing that does not run: their Python blocks are executed, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCS = ROOT / "docs"
PROGRAMS = [
    ROOT / "README.md",
    DOCS / "tutorial.md",
    *sorted(DOCS.glob("howto/*.md")),
    *sorted(DOCS.glob("migration/*.md")),
]
BLOCKS = [
    pytest.param(block, id=f"{page.stem} {place}")
    for page in PROGRAMS
    for place, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_runs(block: str, tmp_path: Path) -> None:
    """As an unguarded script in an empty directory, without a warning."""
    script = tmp_path / "block.py"
    script.write_text(block)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (0, "") == (result.returncode, result.stderr)
    assert result.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    """Relative links only; what lies elsewhere cannot be checked here."""
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
