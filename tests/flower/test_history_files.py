"""Histories in files: what was saved comes back, a crash costs a line at most, and what is no history is refused."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_history import BEGAN, FULL, made_history
from waiting import wait_for

from heflwr.flower.cost import NAMES
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History, Overhead
from heflwr.flower.history.stream import HistoryFile


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return str(request.param)


def full_history() -> History:
    history = made_history(3, 2)
    history.add(FULL)
    history.add(Entry(1, "1", 0, "query", BEGAN))
    history.note(0, accuracy=0.1)
    history.note(1, accuracy=1 / 3, loss=math.inf)
    history.overhead = Overhead(9.0, 5.0, 3.0, 1.0, 0.1)
    history.fault("sink", OSError("disk full"))
    history.fault("sink", OSError("still full"))
    return history


def test_the_example_has_every_field() -> None:
    """So that the tests below look at all of them."""
    defaults = Entry(0, "", 0, "", 0.0)
    assert [] == [one.name for one in fields(Entry) if getattr(FULL, one.name) == getattr(defaults, one.name)]


def test_messages_come_back_equal(ending: str, tmp_path: Path) -> None:
    """To the last bit of a number, in whichever format, and in a directory that was not there."""
    history = full_history()
    path = tmp_path / "new" / "folder" / f"history.{ending}"
    history.save(path)
    assert history.entries == History.load(path).entries
    assert 0 == History.load(path).bad_lines
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize("kept_in", ["jsonl", "parquet"])
def test_what_belongs_to_the_whole_run_comes_back(kept_in: str, tmp_path: Path) -> None:
    """Scores, overhead and faults: JSON lines and Parquet keep them, and with them the whole summary."""
    if kept_in == "parquet":
        pytest.importorskip("pyarrow")
    history = full_history()
    history.save(tmp_path / f"history.{kept_in}")
    loaded = History.load(tmp_path / f"history.{kept_in}")
    assert (history.scores, history.overhead) == (loaded.scores, loaded.overhead)
    assert ({"sink": 2}, "sink: OSError: still full") == (loaded.faults, loaded.last_fault)
    assert history.summary() == loaded.summary()


def test_an_empty_history_comes_back_empty(ending: str, tmp_path: Path) -> None:
    """There is a file, and it is known for a history."""
    History().save(tmp_path / f"history.{ending}")
    assert () == History.load(tmp_path / f"history.{ending}").entries


def test_numbers_that_json_has_no_word_for_come_back(ending: str, tmp_path: Path) -> None:
    """A diverged model's loss; and each line is JSON to strict readers too."""
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf}
    history = History()
    history.add(replace(FULL, metrics=metrics))
    path = tmp_path / f"history.{ending}"
    history.save(path)
    (loaded,) = History.load(path).entries
    assert str(metrics) == str(dict(loaded.metrics))
    if ending == "jsonl":
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=pytest.fail)


def test_a_loaded_history_goes_on(tmp_path: Path) -> None:
    """It takes messages and notes like any other, and loads whatever the file is called."""
    full_history().save(tmp_path / "history.jsonl")
    (tmp_path / "history.jsonl").rename(tmp_path / "renamed")
    history = History.load(tmp_path / "renamed")
    before = len(history.entries)
    history.add(FULL)
    history.note(9, accuracy=0.9)
    assert before + 1 == len(history.entries)
    assert 0.9 == history.scores[9]["accuracy"]


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "'", "'a", "a=1", "", "=")


def test_a_table_holds_nothing_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    """Texts from clients that begin like a formula have an apostrophe before them in the file, and not when loaded."""
    path = tmp_path / "history.csv"
    history = History()
    for text in FORMULAS:
        history.add(replace(FULL, name=text, kind=text, error=text, host=text, metrics={text: -1.5}, notes=(text,)))
    history.save(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = {"node", "round", "sent", "received", "started", *NAMES}
    for row in rows:
        for name, cell in row.items():
            assert cell is not None, f"no {name}: the line was torn"
            if name not in numbers and not name.startswith("metric."):
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), f"{name}: {cell!r}"
            assert not name.startswith(("=", "+", "-", "@"))
    assert "'=1+1" == rows[0]["name"]
    assert "a=1" == rows[FORMULAS.index("a=1")]["name"]
    assert history.entries == History.load(path).entries


@given(text=st.text(alphabet="'=+-@\t\r\n a", max_size=5))
def test_any_text_survives_a_table(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever apostrophes and signs it begins with."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    history = History()
    history.add(replace(FULL, name=text, error=text))
    history.save(path)
    assert history.entries == History.load(path).entries


json_numbers = st.floats() | st.integers(-(2**53), 2**53)


@given(
    entry=st.builds(
        Entry,
        node=st.integers(0, 2**64 - 1),
        name=st.text(max_size=5),
        round=st.integers(0, 99),
        kind=st.text(max_size=5),
        sent=st.floats(allow_nan=False),
        received=st.none() | st.floats(allow_nan=False),
        error=st.text(max_size=20),
        cost=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=3),
        metrics=st.dictionaries(st.text(max_size=3), json_numbers.filter(lambda value: value == value), max_size=3),
        notes=st.tuples(st.text(max_size=5)),
    )
)
def test_any_entry_survives_json_lines(entry: Entry, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever its texts and numbers are, and whether the columns are known or not."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    history = History()
    history.add(entry)
    history.save(path)
    assert (entry,) == History.load(path).entries


@pytest.mark.parametrize("name", ["history.txt", "history", "history.jsonl.gz"])
def test_another_ending_is_refused_with_the_choice(name: str, tmp_path: Path) -> None:
    """And nothing is written."""
    with pytest.raises(ValueError, match=r"\.jsonl, \.csv, \.parquet, got '.*history"):
        History().save(tmp_path / name)
    assert [] == list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_former_file(ending: str, tmp_path: Path) -> None:
    """The file is replaced only by a whole one, and no unfinished one is left."""
    path = tmp_path / f"history.{ending}"
    full_history().save(path)
    before = path.read_bytes()
    history = full_history()
    history.add(replace(FULL, sources=5))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        history.save(path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """The link stays one, and its target is the new file."""
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.touch()
    link.symlink_to(target)
    full_history().save(link)
    assert link.is_symlink()
    assert full_history().entries == History.load(target).entries


class TestDamagedFiles:
    def test_lines_that_are_not_ours_are_left_out_and_counted(self, tmp_path: Path) -> None:
        """Torn, foreign, of the wrong type, deeply nested, too large: the others are read."""
        path = tmp_path / "history.jsonl"
        history = full_history()
        history.save(path)
        first, second, *others = path.read_text().splitlines(keepends=True)
        row = json.loads(second)
        wrong = [
            second[:50] + "\n",
            "Traceback (most recent call last):\n",
            "[" * 100_000 + "\n",
            "[1, 2]\n",
            "{}\n",
            '{"type": "of a later version"}\n',
            '{"type": "score", "round": "1", "metrics": {}}\n',
            '{"type": "faults", "faults": [1]}\n',
            "\0\0\0\n",
            *(json.dumps(row | {name: object}) + "\n" for name in row if name != "type" for object in ({"a": []}, True)
              if not (name == "in_simulation" and object is True)),
            json.dumps(row | {"node": None}) + "\n",
            json.dumps(row | {"sent": 10**400}) + "\n",
            json.dumps({name: value for name, value in row.items() if name != "node"}) + "\n",
        ]  # fmt: skip
        path.write_text("".join([first, *wrong, second, "\n", *others]))
        loaded = History.load(path)
        assert history.entries == loaded.entries
        assert len(wrong) == loaded.bad_lines
        assert history.summary() == loaded.summary()

    def test_fields_of_a_later_version_are_left_alone(self, tmp_path: Path) -> None:
        """A message with more fields is a message; one with fewer has defaults."""
        path = tmp_path / "history.jsonl"
        History().save(path)
        with path.open("a") as file:
            file.write('{"type":"message","node":1,"name":"1","round":2,"kind":"train","sent":5,"colour":"blue"}\n')
        assert (Entry(1, "1", 2, "train", 5.0),) == History.load(path).entries

    def test_rows_of_a_table_that_are_not_ours_are_counted(self, tmp_path: Path) -> None:
        """Too short, too long, no numbers."""
        path = tmp_path / "history.csv"
        history = full_history()
        history.save(path)
        names, first, *others = path.read_text().splitlines(keepends=True)
        wrong = ["1,2,3\n", first.rstrip("\n") + ",more\n", first.replace("ok", "ok,", 1), "x" + first]
        path.write_text("".join([names, *wrong, first, *others]), newline="")
        history.save(tmp_path / "again.csv")
        loaded = History.load(path)
        assert len(history.entries) == len(loaded.entries)
        assert len(wrong) == loaded.bad_lines

    def test_a_version_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        """With the way out."""
        path = tmp_path / "history.jsonl"
        path.write_text('{"type": "heflwr history", "version": 2, "heflwr": "9.1"}\n')
        with pytest.raises(ValueError, match=r"version 2, written by heflwr 9\.1; update heflwr"):
            History.load(path)

    @pytest.mark.parametrize(
        "content", ["", "hello\n", '{"type":"heflwr run"}\n', "node,cost\n1,2\n", "PAR1", "\0\xff"]
    )
    def test_what_is_no_history_is_refused(self, content: str, tmp_path: Path) -> None:
        """ValueError with the file's name, whatever is in it."""
        if content == "PAR1":
            pytest.importorskip("pyarrow")
        path = tmp_path / "something"
        path.write_text(content, encoding="latin-1")
        with pytest.raises(ValueError, match=r"something is no history of heflwr"):
            History.load(path)

    def test_another_parquet_file_is_refused(self, tmp_path: Path) -> None:
        """A table without our header is somebody else's; half a one nobody's."""
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"node": [1]}), tmp_path / "other.parquet")
        full_history().save(tmp_path / "half.parquet")
        os.truncate(tmp_path / "half.parquet", 2000)
        for name in ("other", "half"):
            with pytest.raises(ValueError, match="is no history of heflwr"):
                History.load(tmp_path / f"{name}.parquet")

    def test_a_file_that_is_not_there_is_an_oserror(self, tmp_path: Path) -> None:
        """As with open()."""
        with pytest.raises(FileNotFoundError):
            History.load(tmp_path / "none.jsonl")


class TestHistoryFile:
    def test_it_holds_what_the_history_holds(self, tmp_path: Path) -> None:
        """Each message is there as soon as it was told, and at the end what belongs to the whole run."""
        path = tmp_path / "new" / "history.jsonl"
        made, history = full_history(), History()
        sink = HistoryFile(path)
        sink.open(history)
        for count, entry in enumerate(made.entries, start=1):
            history.add(entry)
            sink.sent(entry.kind, entry.round, 1)
            sink.entry(entry)
            assert count == len(History.load(path).entries)
        history.note(1, accuracy=0.5)
        history.fault("probe", "gone")
        sink.close()
        sink.close()
        loaded = History.load(path)
        assert (made.entries, {1: {"accuracy": 0.5}}, {"probe": 1}) == (loaded.entries, loaded.scores, loaded.faults)
        assert {"probe": 1} == history.faults

    def test_a_second_run_follows_the_first_and_is_the_one_that_is_read(self, tmp_path: Path) -> None:
        """Also when the first ended in the middle of a line."""
        path = tmp_path / "history.jsonl"
        sink = HistoryFile(path)
        for node in (1, 2):
            sink.open(History())
            sink.entry(replace(FULL, node=node))
            sink.close()
            assert [node] == [entry.node for entry in History.load(path).entries]
            with path.open("a") as file:
                file.write('{"type":"mess')
        assert 2 == History.load(path).bad_lines

    def test_two_runs_at_once_are_refused(self, tmp_path: Path) -> None:
        """Their lines could not be told apart; who comes second hears it before its run begins."""
        first, second = HistoryFile(tmp_path / "history.jsonl"), HistoryFile(tmp_path / "history.jsonl")
        first.open(History())
        with pytest.raises(OSError, match=r"another run is writing .*history\.jsonl; choose another file"):
            second.open(History())
        first.entry(FULL)
        first.close()
        second.open(History())
        second.close()

    def test_a_run_that_ends_a_moment_later_is_waited_for(self, tmp_path: Path) -> None:
        """A grid that nobody holds any more closes its file from a thread."""
        first, second = HistoryFile(tmp_path / "history.jsonl"), HistoryFile(tmp_path / "history.jsonl")
        first.open(History())
        closer = threading.Timer(0.1, first.close)
        closer.start()
        second.open(History())
        closer.join()
        second.entry(FULL)
        second.close()
        assert 1 == len(History.load(tmp_path / "history.jsonl").entries)

    def test_a_run_that_never_began_hides_no_earlier_one(self, tmp_path: Path) -> None:
        """Another sink could not be opened: what load() finds is the run before."""
        path = tmp_path / "history.jsonl"
        sink = HistoryFile(path)
        sink.open(History())
        sink.entry(FULL)
        sink.close()
        before = path.read_bytes()
        sink.open(History())
        sink.close()
        assert before == path.read_bytes()
        assert 1 == len(History.load(path).entries)

    def test_a_killed_server_leaves_what_it_learned(self, tmp_path: Path) -> None:
        """All that was told before the kill is there."""
        path = tmp_path / "history.jsonl"
        script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from made_history import FULL
from heflwr.flower.history.ledger import History
from heflwr.flower.history.stream import HistoryFile
sink = HistoryFile({str(path)!r})
sink.open(History())
while True:
    sink.entry(FULL)
"""
        process = subprocess.Popen([sys.executable, "-c", script])
        try:
            wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") > 100)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        loaded = History.load(path)
        assert len(loaded.entries) >= 100
        assert {FULL.node} == {entry.node for entry in loaded.entries}
        assert loaded.bad_lines <= 1, "more than the line that the kill cut"

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
    def test_a_full_disk_at_the_beginning_is_told_by_open(self, tmp_path: Path) -> None:
        """Before anything was sent; a sink that is not open takes nothing, and says nothing more."""
        history = History()
        sink = HistoryFile(tmp_path / "full.jsonl")
        (tmp_path / "full.jsonl").symlink_to("/dev/full")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            sink.open(history)
        sink.entry(FULL)
        sink.close()
        assert {} == history.faults

    def test_a_line_that_the_disk_cut_costs_only_itself(self, tmp_path: Path) -> None:
        """A limit on the file's size lets half a line through; lines after it are read again."""
        path = tmp_path / "history.jsonl"
        script = f"""
import resource, signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from dataclasses import replace
from made_history import FULL
from heflwr.flower.history.ledger import History
from heflwr.flower.history.stream import HistoryFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
history, path = History(), Path({str(path)!r})
sink = HistoryFile(path)
sink.open(history)
sink.entry(replace(FULL, node=1))
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, resource.RLIM_INFINITY))
sink.entry(replace(FULL, node=2))
sink.entry(replace(FULL, node=3))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.entry(replace(FULL, node=4))
sink.close()
print(history.faults)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        assert "{'HistoryFile': 2}" == done.stdout.strip()
        loaded = History.load(path)
        assert [1, 4] == [entry.node for entry in loaded.entries]
        assert {"HistoryFile": 2} == loaded.faults
        assert 1 == loaded.bad_lines

    def test_a_file_of_something_else_is_refused(self, tmp_path: Path) -> None:
        """And left as it was; so is an ending that promises another format."""
        path = tmp_path / "log.jsonl"
        path.write_text('{"type":"heflwr run"}\n')
        sink = HistoryFile(path)
        with pytest.raises(ValueError, match="choose another file"):
            sink.open(History())
        sink.close()
        assert '{"type":"heflwr run"}\n' == path.read_text()
        with pytest.raises(ValueError, match=r"must be \.jsonl, got 'history.csv'"):
            HistoryFile("history.csv")

    def test_a_place_where_no_file_can_be_is_told_at_the_door(self, tmp_path: Path) -> None:
        """Before the run begins."""
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file"):
            HistoryFile(tmp_path / "file" / "history.jsonl").open(History())
