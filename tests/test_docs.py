"""The documentation site is built as `make docs` builds it: every warning is an error."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heflwr import cli
from heflwr.monitor.metrics import METRICS

pytest.importorskip("sphinx")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(out / "cache")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(out / "html")], capture_output=True, text=True, timeout=110, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    return out / "html"


def text(page: Path) -> str:
    """What a reader sees of a page."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_every_page_is_in_the_site_and_in_its_menu(site: Path) -> None:
    """Those of the folder; sphinx would have warned of one that no menu leads to."""
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".rst")]
    menu = (site / "index.html").read_text()
    for page in pages:
        built = page.with_suffix(".html")
        assert (site / built).stat().st_size > 1000
        assert f'href="{built.as_posix()}"' in menu or "index.html" == built.name


def test_the_table_of_metrics_has_them_all(site: Path) -> None:
    """Key, name in summary() and name for Prometheus of each."""
    shown = text(site / "reference" / "metrics.html")
    for metric in METRICS:
        assert metric.name in shown
        assert metric.summary in shown
        assert metric.prometheus is None or metric.prometheus.name in shown


def test_every_command_is_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the help that it prints itself."""
    cli.main([])
    names = re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.MULTILINE)
    assert {"run", "plot", "collector", "coordinator", "agent", "keys", "k8s"} <= set(names)
    shown = text(site / "reference" / "commands.html")
    for name in names:
        assert f"usage: heflwr {name}" in shown


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No script, font or style of another host: the site works without a network."""
    loaded = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"')
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text()), page.name
