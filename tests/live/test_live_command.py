"""`heflwr agent` and `heflwr coordinator` at the door: what cannot be is said in a line, with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_fleet import MEAN_OF_LOAD

pytest.importorskip("zmq")

from heflwr.cli import main


@pytest.fixture
def watches(tmp_path: Path) -> str:
    (tmp_path / "watches.toml").write_text(MEAN_OF_LOAD)
    return str(tmp_path / "watches.toml")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["agent", "--connect", "10.0.0.1:7100"], "make keys with `heflwr keys new"),
        (["coordinator", "--listen", "0.0.0.0:0"], "make keys with `heflwr keys new"),
        (["agent"], "no probe reads 'load'"),
        (["agent", "--values", "x", "--interval", "0"], "interval must be from"),
        (["agent", "--keys", "nowhere"], "make keys with: heflwr keys new nowhere"),
        (["coordinator", "--keys", "nowhere"], "make keys with: heflwr keys new nowhere"),
        (["coordinator", "--listen", "here"], "an address is HOST:PORT"),
        (["coordinator", "--print", "0"], "--print must be > 0"),
        (["coordinator", "--collector", "ftp://x"], "a collector is http://HOST:PORT"),
        (["coordinator", "--prometheus", "99999"], "port must be from 0"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_1(
    words: list[str], text: str, watches: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, before anything is started."""
    assert 1 == main([*words, "--watch", watches])
    captured = capsys.readouterr()
    assert text in captured.err
    assert 1 == captured.err.count("\n")
    assert "" == captured.out


def test_options_come_from_the_environment_too(
    watches: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under their own names; an argument comes first; without a list both say which variable to set."""
    for subcommand in ("agent", "coordinator"):
        with pytest.raises(SystemExit):
            main([subcommand])
        assert f"give --watch FILE, or HEFLWR_{subcommand.upper()}_WATCH" in capsys.readouterr().err
    monkeypatch.setenv("HEFLWR_COORDINATOR_WATCH", watches)
    monkeypatch.setenv("HEFLWR_COORDINATOR_LISTEN", "there")
    assert 1 == main(["coordinator"])
    assert "got 'there'" in capsys.readouterr().err
    assert 1 == main(["coordinator", "--listen", "here"])
    assert "got 'here'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["agent"], ["coordinator"], ["keys"], ["keys", "new"]])
def test_each_has_a_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With its options, and no line that is wider than a terminal."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert 0 == ended.value.code
    out = capsys.readouterr().out
    assert f"usage: heflwr {' '.join(words)}" in out
    assert all(len(line) <= 120 for line in out.splitlines())
