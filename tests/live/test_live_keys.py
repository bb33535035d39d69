"""Keys: made once, kept from others, known by name."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("zmq")

from heflwr.cli import main  # it needs zmq
from heflwr.live.errors import WrongKeys
from heflwr.live.keys import Accepted, add, coordinators, new, own


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """The secret one can be read by its owner alone; a second pair does not overwrite the first."""
    public = new(tmp_path / "keys", "ab" * 32)
    assert public == own(tmp_path / "keys").public
    assert "ab" * 32 == coordinators(tmp_path / "keys")
    assert 0o600 == (tmp_path / "keys" / "secret.key").stat().st_mode & 0o777
    assert own(tmp_path / "keys").secret not in repr(own(tmp_path / "keys"))
    with pytest.raises(WrongKeys, match="has keys already"):
        new(tmp_path / "keys")
    assert public == own(tmp_path / "keys").public


def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """The text says what to do."""
    new(tmp_path)
    (tmp_path / "secret.key").chmod(0o640)
    with pytest.raises(WrongKeys, match="chmod 600"):
        own(tmp_path)


def test_agents_come_and_go_by_their_files(tmp_path: Path) -> None:
    """A name for each key; an added and a removed file count after a refresh, a broken one changes nothing."""
    new(tmp_path)
    ann, bob = "aa" * 32, "bb" * 32
    accepted = Accepted(tmp_path)
    assert accepted.name_of(ann) is None
    add(tmp_path, "ann", ann)
    add(tmp_path, "ann", ann)
    add(tmp_path, "bob", bob)
    accepted.refresh()
    assert ("ann", "bob") == (accepted.name_of(ann), accepted.name_of(bob))
    assert [("ann", ann), ("bob", bob)] == accepted.agents
    (tmp_path / "agents" / "ann.pub").unlink()
    accepted.refresh()
    assert accepted.name_of(ann) is None
    assert "bob" in accepted
    assert "ann" not in accepted
    (tmp_path / "agents" / "cal.pub").write_text("half a ke")
    accepted.refresh()
    assert "bob" in accepted


@pytest.mark.parametrize(
    ("name", "key", "match"),
    [
        ("ann", "xy", "a key has 64 hexadecimal digits"),
        ("../ann", "aa" * 32, "a name must be printable"),
        (".ann", "aa" * 32, "a name must be printable"),
        ("ann\n", "aa" * 32, "a name must be printable"),
        ("bob", "cc" * 32, "'bob' has another key already"),
        ("ann", "bb" * 32, "this key is of 'bob' already"),
    ],
)
def test_a_wrong_name_or_key_is_refused(name: str, key: str, match: str, tmp_path: Path) -> None:
    """Nothing is written."""
    new(tmp_path)
    add(tmp_path, "bob", "bb" * 32)
    with pytest.raises(WrongKeys, match=match):
        add(tmp_path, name, key)
    assert ["bob.pub"] == [path.name for path in (tmp_path / "agents").iterdir()]


def test_what_is_missing_is_said_with_the_way_out(tmp_path: Path) -> None:
    """No keys, no coordinator's key, a file that holds none."""
    with pytest.raises(WrongKeys, match="heflwr keys new"):
        own(tmp_path)
    new(tmp_path)
    with pytest.raises(WrongKeys, match="write the coordinator's public key"):
        coordinators(tmp_path)
    (tmp_path / "coordinator.pub").write_text("hello")
    with pytest.raises(WrongKeys, match="holds no key"):
        coordinators(tmp_path)


def test_keys_are_exchanged_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """new prints the public key alone on stdout, so that a script can hand it on; show lists who is let in."""
    server, agent = str(tmp_path / "server"), str(tmp_path / "agent")
    assert 0 == main(["keys", "new", server])
    public = capsys.readouterr().out.strip()
    assert 0 == main(["keys", "new", agent, "--coordinator", public])
    key = capsys.readouterr().out.strip()
    assert 0 == main(["keys", "add", server, "ann", key])
    assert 0 == main(["keys", "show", server])
    assert f"{public}\n{key}  ann\n" == capsys.readouterr().out
    assert 1 == main(["keys", "new", server])
    assert 1 == main(["keys", "add", server, "ann", "no key"])
    assert "has keys already" in capsys.readouterr().err
