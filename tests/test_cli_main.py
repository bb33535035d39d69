"""The `heflwr` command itself: version, help, and the way to its subcommands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from heflwr import __version__
from heflwr.cli import main


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`heflwr --version` prints it."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert f"heflwr {__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_subcommand(words: list[str]) -> None:
    """Without a word, or asked for it, help comes out, and that is no failure."""
    result = subprocess.run(
        [sys.executable, "-m", "heflwr", *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert ["run", "plot", "collector", "agent", "coordinator", "keys", "k8s"] == re.findall(
        r"^    (\w+)", result.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("subcommand", ["run", "plot"])
def test_every_command_in_an_epilog_is_accepted(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples that --help shows parse: an option that is gone would be found here."""
    with pytest.raises(SystemExit, match="0"):
        main([subcommand, "--help"])
    examples = re.findall(rf"^  heflwr {subcommand} (.+?)(?:  .*)?$", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        words = [
            f"no-such-{word}" if "log" in word or "python" in word or "make" in word else word
            for word in example.split()
        ]
        assert main([subcommand, *words]) in (1, 127)


def test_the_collector_is_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    """`heflwr collector` hands its arguments to the collector."""
    pytest.importorskip("flask")
    with pytest.raises(SystemExit, match="0"):
        main(["collector", "--help"])
    assert "--database" in capsys.readouterr().out


def test_the_collector_without_its_extra_says_how_to_get_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where flask is not installed, one line tells what to install."""
    code = "import sys; sys.modules['flask'] = None; from heflwr.cli import main; sys.exit(main(['collector']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert 1 == result.returncode
    assert "pip install 'heflwr[collector]'" in result.stderr
    assert "Traceback" not in result.stderr
