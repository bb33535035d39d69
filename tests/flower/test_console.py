"""The live view of a run, on a terminal that tests can read, and its lines where there is none."""

from __future__ import annotations

import fcntl
import io
import logging
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyte
import pytest
from waiting import wait_for

from heflwr import quantities
from heflwr.flower import Entry, History
from heflwr.flower.entry import ERROR, LOST
from heflwr.flower.server.console import Console

HERE = Path(__file__).parent

TITLE = b" heflwr "
"""What each drawing begins with."""

PRELUDE = f"""
import logging, os, sys, time, warnings
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
warnings.simplefilter("ignore")  # what Flower imports may warn of what it imports
from flwr.app import Context, RecordDict
from clouds_app import Learned, client, server
from local_grid import LocalGrid, run_app
from heflwr.flower import History, MonitoredGrid, monitored
from heflwr.flower.server.console import Console

flower = logging.getLogger("flwr")
"""


class Terminal:
    """A terminal that shows what is written to it, and remembers what scrolled by."""

    def __init__(self, columns: int = 100, rows: int = 30) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=1e-9)
        self.raw = b""
        self._display = pyte.ByteStream(self.screen)
        self._main_end, self._its_end = pty.openpty()
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._main_end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    @contextmanager
    def stream(self) -> Iterator[IO[str]]:
        """Yield a stream to write to; once it is closed all of it is to be seen."""
        reader = threading.Thread(target=self._read)
        reader.start()
        try:
            with open(self._its_end, "w") as stream:
                yield stream
        finally:
            reader.join()

    def run(self, code: str, **environment: str) -> tuple[list[str], int]:
        """Run a program, its text after PRELUDE, in the terminal; return all its lines and its exit code."""
        with subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdin=self._its_end,
            stdout=self._its_end,
            stderr=self._its_end,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "CI": "", **environment},
        ) as process:
            os.close(self._its_end)
            self._read()
        return self.lines(), process.returncode

    def lines(self) -> list[str]:
        """Return all lines, scrolled up or not."""
        past = ["".join(row[column].data for column in range(self.screen.columns)) for row in self.screen.history.top]
        return [line.rstrip() for line in [*past, *self.screen.display]]

    def _read(self) -> None:
        with open(self._main_end, "rb", buffering=0) as output:
            while True:
                try:
                    data = output.read(65536)
                except OSError:  # how Linux says that the other end is closed
                    return
                self.raw += data
                self._display.feed(data)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who sits at a terminal."""
    monkeypatch.setenv("CI", "")
    monkeypatch.setenv("TERM", "xterm-256color")


@contextmanager
def console_in(terminal: Terminal, rounds: int | None = None) -> Iterator[tuple[Console, IO[str]]]:
    """Yield an open console in a terminal, and the stream behind it."""
    with terminal.stream() as stream:
        console = Console(rounds=rounds, stream=stream)
        console.open(History())
        try:
            yield console, stream
        finally:
            console.close()


def drawn(terminal: Terminal, times: int) -> None:
    """Wait until the table was drawn so many times more."""
    before = terminal.raw.count(TITLE)
    wait_for(lambda: terminal.raw.count(TITLE) >= before + times, what="a drawing")


def call(node: int, round: int = 1, kind: str = "train", seconds: float = 1.0, name: str = "", **more: float) -> Entry:
    cost = {"seconds": seconds, "cpu_seconds": seconds, "cpu_usage": 50.0, "memory_peak_bytes": 2.0**28, **more}
    return Entry(node, name or f"n{node:03}", round, kind, 0.0, 1.0, cost=cost)


def titles(lines: list[str]) -> list[int]:
    return [place for place, line in enumerate(lines) if line.startswith(" heflwr ")]


FEDERATION = """
class Slow(LocalGrid):
    def handle(self, message):
        time.sleep(0.15)
        return super().handle(message)

    def send_and_receive(self, messages, *, timeout=None):
        flower.info("to %d nodes", len(list(messages)))
        print("the app speaks", flush=True)
        return super().send_and_receive(messages, timeout=timeout)

server_app = monitored(server(Learned()), sinks=[Console(rounds=2)])
server_app(Slow(monitored(client()), 3), Context(1, 1, {}, RecordDict(), {}))
print("the end")
"""


def test_the_table_stays_below_what_flower_logs_and_the_app_prints() -> None:
    """Every line of Flower's logger and of print() is whole, once, in order, above one table of what each node did."""
    terminal = Terminal()
    lines, code = terminal.run(FEDERATION)
    assert 0 == code, lines
    [title] = titles(lines)
    above, table = lines[:title], [line for line in lines[title:] if line]
    assert 4 == sum(line == "the app speaks" for line in above)
    assert 4 == sum(re.fullmatch(r"INFO : +to 3 nodes", line) is not None for line in above)
    assert [] == [line for line in above if "heflwr" in line or "ok" in line.split()]
    assert re.match(r" heflwr   round 2 of 2  evaluate  .*3 of 3 nodes", table[0])
    assert re.match(r"node +last (train|evaluate) +median +CPU +CPU % +memory", table[1])  # milliseconds, whichever
    assert {"0", "1", "2"} == {line.split()[0] for line in table[2:5]}
    assert re.match(r"12 messages   CPU .*accuracy .* % \(round 2\)", table[5])
    assert "the end" == table[6]
    assert terminal.raw.count(b" heflwr ") > 4  # it was live
    assert not terminal.screen.cursor.hidden


@pytest.mark.usefixtures("live")
def test_a_thousand_nodes_are_twenty_rows_and_four_drawings_a_second() -> None:
    """The slowest come first, the straggler is marked, the rest is a number; no drawing for each message."""
    terminal = Terminal(rows=40)
    begun = time.monotonic()
    with console_in(terminal) as (console, _):
        for number in (1, 2, 3):
            console.sent("train", number, 1000)
            for node in range(1000):
                console.entry(call(node, number, seconds=1 + node / 1000 if node != 777 else 9.5))
            drawn(terminal, 2)
    drawings = terminal.raw.count(TITLE)
    assert drawings <= 4 * (time.monotonic() - begun) + 2
    lines = terminal.lines()
    [title] = titles(lines)
    rows = lines[title + 2 : title + 22]
    assert re.match(r"n777 +9\.50 s .* 6\.\dx ◀ ", rows[0])
    assert [f"n{node}" for node in range(999, 980, -1)] == [row.split()[0] for row in rows[1:]]
    assert "… and 980 more" == lines[title + 22]
    assert "3000 messages   CPU 1:15:21" == lines[title + 23]


BAD_NUMBERS = (1e308, -1e308, float("inf"), float("nan"), -5.0)


@pytest.mark.usefixtures("live")
def test_no_number_ends_the_table() -> None:
    """Sums beyond floats, infinity, none at all: they are shown as such, and the drawing goes on."""
    terminal = Terminal()
    history = History()
    with terminal.stream() as stream:
        console = Console(stream=stream)
        console.open(history)
        for node, number in enumerate(BAD_NUMBERS * 2):
            names = ("cpu_seconds", "cpu_usage", "memory_peak_bytes", "energy_joules")
            console.entry(call(node, seconds=number, **dict.fromkeys(names, number)))
            if node < len(BAD_NUMBERS):  # one more each time; then all of them once more
                drawn(terminal, 1)
        drawn(terminal, 1)
        console.close()
    assert {} == history.faults
    assert "CPU nan" in "".join(terminal.lines())


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("word", [quantities.clock, quantities.seconds, quantities.size, quantities.joules])
def test_every_number_has_a_word(word: Callable[[float], str], value: float) -> None:
    """Infinity and NaN by their names."""
    text = word(value)
    assert value == value or "nan" in text
    assert math.isfinite(value) or str(value) in text


def test_a_count_has_a_word() -> None:
    """Also one that is none; time before zero has a sign."""
    assert ["inf", "nan", "3", "2.5"] == [quantities.quantity(value, "count") for value in (math.inf, math.nan, 3, 2.5)]
    assert ["-0:01:05", "0:00:00", "27:46:40"] == [quantities.clock(value) for value in (-65.2, -0.5, 100_000)]


@pytest.mark.usefixtures("live")
def test_a_drawing_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the table comes back."""
    from heflwr.flower.server import console as module
    from heflwr.flower.server.screen import Screen

    plain = Screen.lines
    failures = iter([ZeroDivisionError("on purpose")] * 2)

    def lines(self: Screen, *arguments: Any) -> list[str]:
        if (failure := next(failures, None)) is not None:
            raise failure
        return plain(self, *arguments)

    monkeypatch.setattr(Screen, "lines", lines)
    monkeypatch.setattr(module, "FAILED_SECONDS", 0.1)
    terminal = Terminal()
    history = History()
    with terminal.stream() as stream:
        console = Console(stream=stream)
        console.open(history)
        drawn(terminal, 1)
        console.close()
    assert {"Console": 2} == history.faults


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("energy", [{}, {"energy_joules": 1234.5}], ids=["without", "with"])
def test_energy_has_a_column_where_it_is_measured(energy: dict[str, float]) -> None:
    """Joules of the nodes that told, a dash for the others; without any there is no such column."""
    terminal = Terminal()
    with console_in(terminal) as (console, _):
        console.entry(call(1, **energy))
        console.entry(call(2))
    [title] = titles(terminal.lines())
    head, first, second = terminal.lines()[title + 1 : title + 4]
    assert bool(energy) == ("energy" in head)
    assert bool(energy) == ("1.2 kJ" in first)
    assert bool(energy) == ("-" in second)


@pytest.mark.usefixtures("live")
def test_the_servers_accuracy_counts_where_it_notes_one() -> None:
    """The clients' mean is shown until then; a note that comes after the last reply is shown as well."""
    terminal = Terminal()
    history = History()
    with terminal.stream() as stream:
        console = Console(stream=stream)
        console.open(history)
        console.sent("evaluate", 1, 1)
        console.entry(Entry(1, "a", 1, "evaluate", 0.0, 1.0, metrics={"accuracy": 0.25}))
        wait_for(lambda: b"accuracy 25.0 % (round 1)" in terminal.raw, what="the clients' accuracy")
        history.note(2, accuracy=0.75)
        console.close()
    assert "accuracy 75.0 % (round 2)" in "".join(terminal.lines())
    assert "25.0" not in "".join(terminal.lines())


def fail(console: Console) -> None:
    console.sent("train", 1, 13)
    for node in range(10):
        error = "Broken: out of\nmemory \x1b[31m"
        console.entry(Entry(node, f"bad{node}", 1, "train", 0.0, status=ERROR, error=error))
    console.entry(Entry(10, "gone", 1, "train", 0.0, status=LOST))
    console.entry(call(11, name="evil\x1b[2J\r\n[red]\u202ename", seconds=5.0))
    console.entry(Entry(12, "plain", 1, "train", 0.0, 1.0))


@pytest.mark.usefixtures("live")
def test_nodes_without_an_answer_come_first_and_hide_nobody() -> None:
    """Lost ones, then some that failed and why, then the slow ones, one without a report, then the other failures."""
    terminal = Terminal()
    with console_in(terminal) as (console, _):
        fail(console)
    lines = terminal.lines()
    [title] = titles(lines)
    names = [line.split()[0] for line in lines[title + 2 : title + 15]]
    failed = [f"bad{node}" for node in range(10)]
    assert ["gone", *failed[:4], r"evil\x1b[2J\r\n[red…", "plain", *failed[4:]] == names
    assert lines[title + 2].endswith("no reply")
    assert lines[title + 3].endswith(r"failed: Broken: out of\…")
    assert lines[title + 8].endswith("ok, no report")
    assert "13 messages   10 failed   1 lost   CPU 5.00 s" == lines[title + 15]


@pytest.mark.parametrize("in_ci", ["", "true"])
def test_names_from_clients_move_no_cursor(in_ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters, markup and direction marks of a name are shown, not carried out; in plain lines, too."""
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal(200)
    with console_in(terminal) as (console, _):
        fail(console)
    assert r"evil\x1b[2J\r\n[red" in "".join(terminal.lines())
    assert b"\x1b[2J" not in terminal.raw
    assert "\u202e".encode() not in terminal.raw


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(("columns", "rows"), [(10, 5), (25, 50), (41, 12), (60, 9), (79, 24), (100, 12), (200, 50)])
def test_the_table_fits_into_every_terminal(columns: int, rows: int) -> None:
    """No line is as wide as the terminal, none scrolls away: however often it is drawn, there is one title."""
    terminal = Terminal(columns, rows)
    kind = "evaluate with a long name"
    with console_in(terminal, rounds=12345) as (console, _):
        for number in (1, 2):
            console.sent(kind, number, 30)
            for node in range(30):
                console.entry(call(node, number, kind, name=f"日本 {node} " * 9, energy_joules=9.0))
            drawn(terminal, 1)
    assert 1 == len(titles(terminal.lines()))
    assert all(len(line.rstrip()) < columns for line in terminal.screen.display)
    assert not terminal.screen.history.top


@pytest.mark.parametrize("ending", ["raise ValueError('the app is wrong')", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_the_terminal_is_whole_however_the_run_ends(ending: str) -> None:
    """After an exception, which stands below the table, or a sudden death: the cursor is there, no mode is set."""
    terminal = Terminal()
    lines, code = terminal.run(
        f"""
with MonitoredGrid(LocalGrid(client()), sinks=[Console()]) as grid:
    flower.info("before")
    time.sleep(0.6)
    {ending}
"""
    )
    assert 0 != code
    assert 1 == len(titles(lines))
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.margins is None
    assert b"\x1b[?" not in terminal.raw
    if "raise" in ending:
        assert "ValueError: the app is wrong" in lines
        assert titles(lines)[0] < lines.index("Traceback (most recent call last):")


def test_streams_and_handlers_are_given_back() -> None:
    """After close() all is as it was, also for handlers that came meanwhile; those of other files never change."""
    lines, code = Terminal().run(
        """
with open(os.devnull, "w") as null:
    other = logging.StreamHandler(null)
    early = logging.StreamHandler()
    for handler in (early, other):
        flower.addHandler(handler)
    before = sys.stdout, sys.stderr, [handler.stream for handler in flower.handlers]
    console = Console()
    for _ in range(2):
        console.open(History())
        late = logging.StreamHandler()
        logging.getLogger("app").addHandler(late)
        assert sys.stderr is not before[1]
        assert other.stream is null
        assert early.stream is late.stream is sys.stderr
        console.close()
        console.close()
        assert before == (sys.stdout, sys.stderr, [handler.stream for handler in flower.handlers])
        assert late.stream is sys.stderr
"""
    )
    assert 0 == code, lines


def test_output_to_a_file_goes_there() -> None:
    """Where only stderr is the terminal, what the app prints does not come near the table."""
    lines, code = Terminal().run(
        """
import tempfile
with tempfile.TemporaryFile("w+") as file:
    sys.stdout = file
    console = Console()
    console.open(History())
    print("for the file")
    console.close()
    file.seek(0)
    assert "for the file\\n" == file.read()
"""
    )
    assert 0 == code, lines
    assert "for the file" not in lines


def test_an_unfinished_line_is_left_to_grow() -> None:
    """While somebody writes a progress bar the table makes room, and comes back below when the line ends."""
    lines, code = Terminal().run(
        """
console = Console()
console.open(History())
time.sleep(0.4)
for step in range(5):
    print(f"\\rstep {step}", end="", flush=True)
    time.sleep(0.2)
print(" is the last")
time.sleep(0.4)
print("unfinished", end="")
console.close()
"""
    )
    assert 0 == code
    [title] = titles(lines)
    assert ["step 4 is the last", "unfinished"] == lines[:title]


def test_a_forked_child_writes_for_itself() -> None:
    """It waits for no lock of its parent's console, and leaves the parent's table alone."""
    lines, code = Terminal().run(
        """
console = Console()
console.open(History())
time.sleep(0.4)
for _ in range(20):
    child = os.fork()
    if not child:
        flower.info("the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
console.close()
"""
    )
    assert 0 == code
    assert "the child" in "".join(lines)


@pytest.mark.usefixtures("live")
def test_a_narrower_terminal_costs_no_line_of_the_log() -> None:
    """The old table stays where it was, rather than that something of others is erased; the new one fits."""
    terminal = Terminal(100, 30)
    logger = logging.getLogger("test_console")
    with terminal.stream() as stream:
        logger.addHandler(handler := logging.StreamHandler(stream))
        console = Console(stream=stream)
        console.open(History())
        console.entry(call(1))
        for number in range(6):
            logger.warning("line %d", number)
            drawn(terminal, 1)
            if number == 2:
                terminal.resize(50, 30)
        console.close()
        assert stream is handler.stream
        logger.removeHandler(handler)
    lines = terminal.lines()
    assert [f"line {number}" for number in range(6)] == re.findall(r"line \d+", "\n".join(lines))
    assert all(len(line) < 50 for line in lines[titles(lines)[-1] :])


PLAIN = """
server_app = monitored(server(Learned()), sinks=[Console(rounds=2)])
run_app(server_app, monitored(client()))
"""


@pytest.mark.parametrize("environment", [{"CI": "1"}, {"TERM": "dumb"}])
def test_without_a_table_there_is_a_line_a_batch(environment: dict[str, str]) -> None:
    """In CI and on a terminal that cannot move its cursor: one line a round and kind, no escape sequence."""
    terminal = Terminal(200)
    lines, code = terminal.run("flower.setLevel('ERROR')" + PLAIN, **environment)
    assert 0 == code
    assert b"\x1b" not in terminal.raw
    shape = r"heflwr: round {} of 2, {}: 3 of 3 nodes in \S+ s, slowest \d with \S+ s, CPU \S+ s"
    expected = [(number, kind) for number in (1, 2) for kind in ("train", "evaluate")]
    found = [line for line in lines if line]
    assert 4 == len(found)
    for line, (number, kind) in zip(found, expected, strict=True):
        assert re.match(shape.format(number, kind), line)
    assert re.search(r"accuracy \S+ % \(round 2\)", found[3])


def test_without_rich_there_are_lines_and_a_hint() -> None:
    """The run goes on without a table, and the hint names the extra."""
    without = "sys.modules |= dict.fromkeys([name for name in sys.modules if name.split('.')[0] == 'rich'])\n"
    lines, code = Terminal(200).run(without + "flower.setLevel('ERROR')\n" + PLAIN)
    assert 0 == code
    assert "pip install 'heflwr[console]'" in lines[0]
    assert 4 == sum("3 of 3 nodes" in line for line in lines)


def test_lines_are_what_flower_passes_on() -> None:
    """Where Flower copies the output for `flwr run --stream` there is no table: a log viewer is no terminal."""
    terminal = Terminal(200)
    lines, code = terminal.run(
        """
from queue import Queue
from flwr.common.logger import mirror_output_to_queue
flower.setLevel("ERROR")
copied = Queue()
mirror_output_to_queue(copied)
"""
        + PLAIN
        + """
assert 4 == "".join(copied.queue).count("3 of 3 nodes")
"""
    )
    assert 0 == code, lines
    assert b"\x1b[J" not in terminal.raw


def feed(console: Console) -> None:
    console.open(History())
    console.sent("train", 1, 3)
    console.entry(Entry(1, "a", 1, "train", 0.0, 1.0, cost={"seconds": 61.0, "energy_joules": 2500.0}))
    console.entry(Entry(2, "b", 1, "train", 0.0, status=LOST))
    console.entry(Entry(3, "c", 1, "train", 0.0, 1.0, status=ERROR))


def said(stream: io.StringIO) -> list[str]:
    return [re.sub(r"in \S+ s", "in T s", line) for line in stream.getvalue().splitlines()]


def test_a_line_tells_what_failed_and_what_it_cost() -> None:
    """Answers, failures and losses, the slowest node, energy where it was measured."""
    stream = io.StringIO()
    console = Console(stream=stream)
    feed(console)
    console.close()
    expected = "heflwr: round 1, train: 1 of 3 nodes in T s, 1 failed, 1 lost, slowest a with 61.0 s, energy 2.5 kJ"
    assert [expected] == said(stream)


def test_a_batch_that_never_came_back_is_told_at_the_end() -> None:
    """What was still on its way when the run ended has its line, too; a reply of no batch has none."""
    stream = io.StringIO()
    console = Console(stream=stream)
    console.open(History())
    console.sent("train", 1, 2)
    console.entry(Entry(1, "a", 7, "query", 0.0, 1.0))
    console.entry(Entry(1, "a", 1, "train", 0.0, 1.0))
    assert [] == said(stream)
    console.close()
    assert ["heflwr: round 1, train: 1 of 2 nodes in T s"] == said(stream)


def test_a_stream_that_is_none_is_refused_at_the_door() -> None:
    """The name of a file, say."""
    with pytest.raises(TypeError, match=r"stream must be an open text file, got 'stderr' \(str\)"):
        Console(stream="stderr")  # type: ignore[arg-type]


def test_close_without_open_does_nothing() -> None:
    """Not a byte, no error, also twice."""
    stream = io.StringIO()
    console = Console(stream=stream)
    console.close()
    console.close()
    assert "" == stream.getvalue()


@pytest.mark.usefixtures("live")
def test_a_terminal_that_hangs_up_costs_the_run_nothing() -> None:
    """Drawing ends for good; the console goes on as if nothing had been."""
    main_end, its_end = pty.openpty()
    history = History()
    with open(its_end, "w") as stream:
        console = Console(stream=stream)
        console.open(history)
        os.read(main_end, 1)  # it draws
        os.close(main_end)
        console.sent("train", 1, 1)
        console.entry(call(1))
        console.close()
    assert {} == history.faults


@pytest.mark.parametrize(("rounds", "error"), [(0, ValueError), (2.5, TypeError), ("3", TypeError)])
def test_rounds_are_checked_at_the_door(rounds: int, error: type[Exception]) -> None:
    """A number of rounds is whole and positive."""
    with pytest.raises(error, match="rounds"):
        Console(rounds=rounds)
