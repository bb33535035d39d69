"""The documentation site: pages in Markdown, the reference from docstrings, tables from the code. `make docs`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heflwr import __version__
from heflwr.monitor.metrics import METRICS, Kind, Metric

ROOT = Path(__file__).parents[1]

project = "heflwr"
release = __version__
project_copyright = "the heflwr authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = f"heflwr {__version__}"
html_show_sourcelink = html_copy_source = False

default_role = "code"  # docstrings mark names with single back-quotes
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
autodoc_default_options = {"members": True}
autoclass_content = "both"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

COMMANDS = (
    "run",
    "plot",
    "collector",
    "collector token",
    "collector compact",
    "coordinator",
    "agent",
    "keys",
    "k8s render",
)

MEANING = {
    Kind.LEVEL: "as it stands at the sample",
    Kind.RATE: "mean since the sample before",
    Kind.DELTA: "added since the sample before",
}


def setup(app: Any) -> None:
    """Have the pages completed when they are read."""
    app.connect("source-read", complete)


def complete(app: Any, page: str, source: list[str]) -> None:
    """Put a page's generated parts in; what lies outside the site is named, not linked."""
    text = source[0]
    for name, made in (("metrics", metrics), ("commands", commands)):
        mark = f"<!-- generated: {name} -->"
        if mark in text:
            text = text.replace(mark, made())
    source[0] = re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+(?:examples|heflwr|deploy|benchmarks|[A-Z]+\.md)[^)]*\)", r"`\1`", text
    )


def metrics() -> str:
    """Return the table of metrics, a section a group."""
    groups = dict.fromkeys(metric.group for metric in METRICS)
    return "\n\n".join(
        f"## {group}\n\n| key | what | in `summary()` | for Prometheus |\n| --- | --- | --- | --- |\n"
        + "\n".join(_row(metric) for metric in METRICS if metric.group == group)
        for group in groups
    )


def _row(metric: Metric) -> str:
    key = f"`{metric.name}`" + ("" if metric.in_stats else " \\*")
    what = f"{metric.help} In {metric.unit}, {MEANING[metric.kind]}."
    summary = f"`{metric.summary}`" if metric.summary else ""
    return f"| {key} | {what} | {summary} | {_exported(metric)} |"


def _exported(metric: Metric) -> str:
    if metric.prometheus is None:
        return ""
    ending = "_total" if metric.kind is Kind.DELTA else ""
    labels = ",".join(f'{name}="{value}"' for name, value in metric.prometheus.labels)
    return f"`{metric.prometheus.name}{ending}" + (f"{{{labels}}}`" if labels else "`")


def commands() -> str:
    """Return what each command says of itself."""
    return "\n\n".join(f"## heflwr {name}\n\n```text\n{text}\n```" for name, text in _helps())


def _helps() -> Iterator[tuple[str, str]]:
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    for name in COMMANDS:
        words = [sys.executable, "-m", "heflwr", *name.split(), "--help"]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
        yield name, done.stdout.rstrip()
