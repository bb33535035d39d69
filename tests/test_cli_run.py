"""`heflwr run`: any command, measured from outside, its streams, signals and exit code untouched."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, terminals and exit codes of POSIX")

HEFLWR = (sys.executable, "-m", "heflwr")
BURN = "import time\nwhile time.process_time() < 1: pass"
BURN_IN_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"


def heflwr_run(*words: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEFLWR, "run", *words], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def cell(summary: str, row: str) -> list[str]:
    """Return the numbers of a row of the summary."""
    (line,) = [line for line in summary.splitlines() if line.strip().startswith(row + "  ")]
    return re.findall(r"[\d.]+", line.strip().removeprefix(row))


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_exit_code_is_the_commands_own(script: str, expected: int, tmp_path: Path) -> None:
    """What the command returned comes out, and 128 + n where the signal n ended it."""
    result = heflwr_run("--", "sh", "-c", script, cwd=tmp_path)
    assert expected == result.returncode
    assert f"exit code {expected}" in result.stderr


def test_streams_pass_through_untouched(tmp_path: Path) -> None:
    """Input, output and errors are the command's; the summary goes to stderr, after them."""
    result = heflwr_run("--", "sh", "-c", "cat; echo oops >&2", cwd=tmp_path, stdin="in\n")
    assert "in\n" == result.stdout
    assert result.stderr.startswith("oops\nheflwr: sh -c ")


def test_quiet_writes_nothing(tmp_path: Path) -> None:
    """--quiet adds not a byte."""
    result = heflwr_run("--quiet", "--", "sh", "-c", "echo out; echo err >&2", cwd=tmp_path)
    assert ("out\n", "err\n") == (result.stdout, result.stderr)


@pytest.mark.parametrize("marker", [(), ("--",)], ids=["bare", "after --"])
def test_the_commands_options_and_double_dashes_are_its_own(marker: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing behind the command's name is taken for an option of heflwr, with or without -- before it."""
    code = "import sys; print(sys.argv[1:])"
    result = heflwr_run(*marker, sys.executable, "-c", code, "--quiet", "--", "--interval", cwd=tmp_path)
    assert "['--quiet', '--', '--interval']\n" == result.stdout


def test_open_files_of_the_shell_reach_the_command(tmp_path: Path) -> None:
    """A descriptor that a shell opened for the command is there, and none of heflwr's own is."""
    count = "ls /proc/self/fd | wc -l"
    script = f"exec 7<<X\nhello\nX\n{' '.join(HEFLWR)} run --quiet -- sh -c 'cat <&7; {count}'; {count}"
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    result = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    text, inside, outside = result.stdout.split()
    assert "hello" == text
    assert outside == inside


@pytest.mark.parametrize("code", [BURN, BURN_IN_CHILD], ids=["itself", "in a child"])
def test_cpu_seconds_are_what_the_command_used(code: str, tmp_path: Path) -> None:
    """One second of burning is one second, whether the command or a child of it burns, at any interval."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = heflwr_run("--interval", "30", "--", sys.executable, "-c", code, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    everything = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # heflwr itself included
    (seconds,) = cell(result.stderr, "cpu seconds")
    assert 1.0 <= float(seconds) <= everything


def test_peak_memory_between_two_samples_is_seen(tmp_path: Path) -> None:
    """A gigantic allocation that lives for a moment shows in the peak, however rarely memory is sampled."""
    code = "x = bytearray(b'1') * (300 << 20); del x; import time; time.sleep(0.3)"
    result = heflwr_run("--interval", "30", "--", sys.executable, "-c", code, cwd=tmp_path)
    _, peak = cell(result.stderr, "memory bytes")
    assert 300 <= float(peak) <= 400


def test_a_command_of_a_moment_is_measured(tmp_path: Path) -> None:
    """`true` has ended before a first sample falls due, and still has a summary."""
    result = heflwr_run("--", "true", cwd=tmp_path)
    assert 0 == result.returncode
    assert 0 < float(cell(result.stderr, "cpu seconds")[0]) < 5
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "name", "first"),
    [
        (["--format", "jsonl"], "log.jsonl", '{"type": "heflwr run"'),
        (["--format", "csv"], "log.csv", "# heflwr run"),
        (["--format", "text"], "log.txt", "# heflwr run"),
        (["--file", "mine.JSONL"], "mine.JSONL", '{"type": "heflwr run"'),
        (["--file", "mine.csv"], "mine.csv", "# heflwr run"),
        (["--file", "mine.out"], "mine.out", "# heflwr run"),
        (["--file", "mine.csv", "--format", "jsonl"], "mine.csv", '{"type": "heflwr run"'),
    ],
)
def test_samples_go_to_the_file_asked_for(options: list[str], name: str, first: str, tmp_path: Path) -> None:
    """--format alone names the file, --file's ending the format; the summary tells how to draw it."""
    result = heflwr_run(*options, "--", "true", cwd=tmp_path)
    assert [name] == os.listdir(tmp_path)
    assert (tmp_path / name).read_text().startswith(first)
    assert f"heflwr plot {name}" in result.stderr


def test_without_being_asked_no_file_is_written(tmp_path: Path) -> None:
    """A plain `heflwr run` leaves nothing behind."""
    heflwr_run("--", "true", cwd=tmp_path)
    assert [] == os.listdir(tmp_path)


def test_metrics_asked_for_are_those_in_the_file(tmp_path: Path) -> None:
    """--metrics switches exactly the named groups on; the process's last breath has no memory to speak of."""
    heflwr_run("--format", "jsonl", "--metrics", "cpu, disk", "--interval", "0.05", "--", "sleep", "0.3", cwd=tmp_path)
    header, *samples = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert ["cpu_seconds", "cpu_usage", "disk_bytes_read", "disk_bytes_written"] == list(header["units"])
    assert len(samples) >= 3
    assert "sleep" == header["identifier"]


def test_an_ended_command_has_no_memory_rather_than_none_at_all(tmp_path: Path) -> None:
    """The last sample finds a process that holds nothing any more: a gap, not a zero that spoils the mean."""
    heflwr_run("--format", "jsonl", "--interval", "0.05", "--", "sleep", "0.3", cwd=tmp_path)
    samples = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()[1:]]
    memories = [sample["memory_bytes"] for sample in samples]
    assert 0 not in memories
    assert memories[0] > 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--", "no-such-command"], 127, "there is no command 'no-such-command' on the PATH"),
        (["--", "./no-such-file"], 127, "there is no command './no-such-file'"),
        (["--", "./plain"], 126, "'./plain' is not executable; try: chmod +x ./plain"),
        (["--", "./folder"], 126, "'./folder' is a directory"),
        (["--", "./garbage"], 126, "cannot execute './garbage'"),
        (["--interval", "0", "--", "touch", "begun"], 125, "interval must be from 0.001"),
        (["--interval", "nan", "--", "touch", "begun"], 125, "interval must be from 0.001"),
        (["--file", "no/such/folder.csv", "--", "touch", "begun"], 125, "no/such/folder.csv"),
        (["--metrics", "cpu,warp", "--", "touch", "begun"], 2, "there is no metric 'warp'; choose from cpu, memory"),
        (["--metrics", ",", "--", "touch", "begun"], 2, "name at least one of cpu"),
        (["--interval", "often", "--", "touch", "begun"], 2, "invalid float value: 'often'"),
        (["--format", "xml", "--", "touch", "begun"], 2, "invalid choice: 'xml'"),
        ([], 2, "nothing to run; write: heflwr run -- COMMAND"),
        (["--"], 2, "nothing to run; write: heflwr run -- COMMAND"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_begins(
    words: list[str], code: int, text: str, tmp_path: Path
) -> None:
    """A mistake costs one clear line and an exit code of its own, and the command never begins."""
    (tmp_path / "plain").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    result = heflwr_run(*words, cwd=tmp_path)
    assert code == result.returncode
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_heflwr_reaches_the_command_and_heflwr_waits_for_it(name: str, tmp_path: Path) -> None:
    """The command decides what to do about it; heflwr outlives it, sums up and returns its exit code."""
    number = getattr(signal, name)
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (print('got it', flush=True), time.sleep(0.2), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    process = subprocess.Popen(
        [*HEFLWR, "run", "--", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # no terminal that would have sent the signal to the command as well
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "got it\n" == out
    assert 7 == process.returncode
    assert "exit code 7" in err


def test_a_held_command_never_begins_when_heflwr_is_killed(tmp_path: Path) -> None:
    """Killed between making the child and letting the command begin, heflwr leaves no process and no effect behind."""
    code = (
        "from heflwr.cli.command import hold\n"
        "print(hold(['touch', 'begun']).pid, flush=True)\n"
        "import time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        held = int(process.stdout.readline())
        os.kill(held, 0)
        process.kill()
    wait_for(lambda: not psutil.pid_exists(held), what="the end of the held child")
    assert not (tmp_path / "begun").exists()


def in_terminal(command: Sequence[str], cwd: Path, keys: dict[str, bytes] | None = None) -> tuple[str, int]:
    """Run a command in a terminal of 24 rows and 100 columns; press `keys[text]` when text appears."""
    import fcntl
    import pty
    import termios

    main_end, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    take = "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", take, *command],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(its_end)
    seen = b""
    waiting = {text.encode(): key for text, key in (keys or {}).items()}
    while True:
        try:
            data = os.read(main_end, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not data:
            break
        seen += data
        for text in [text for text in waiting if text in seen]:
            os.write(main_end, waiting.pop(text))
    os.close(main_end)
    return seen.decode(), process.wait(60)


def test_in_a_terminal_a_live_line_shows_the_latest_sample(tmp_path: Path) -> None:
    """The bottom row shows time, CPU and memory, is given back at the end, and the command's output is whole."""
    pytest.importorskip("rich")
    script = "for i in 1 2 3; do echo line-$i; sleep 0.2; done"
    screen, code = in_terminal([*HEFLWR, "run", "--interval", "0.1", "--", "sh", "-c", script], tmp_path)
    assert 0 == code
    assert re.search(r"\x1b\[1;23r.*heflwr.*0:00:00.*CPU.*%.*memory.*B", screen)
    assert screen.index("\x1b[r") > screen.rindex("0:00:00")
    plain = re.sub(r"\x1b7.*?\x1b8", "", screen)
    assert all(f"line-{i}\r\n" in plain for i in (1, 2, 3))
    assert "exit code 0" in plain


def test_quiet_draws_no_live_line(tmp_path: Path) -> None:
    """In a terminal, too, --quiet adds not a byte."""
    assert ("hello\r\n", 0) == in_terminal([*HEFLWR, "run", "--quiet", "--", "echo", "hello"], tmp_path)


def test_ctrl_c_reaches_the_command_once(tmp_path: Path) -> None:
    """The terminal sends it to the command itself; heflwr neither dies of it nor sends it a second time."""
    code = (
        "import signal, sys, time\n"
        "times = []\n"
        "signal.signal(signal.SIGINT, lambda *_: times.append(1))\n"
        "print('ready', flush=True)\n"
        "while not times: time.sleep(0.02)\n"
        "time.sleep(0.5)\n"
        "print('times', len(times), flush=True)\n"
        "sys.exit(9)"
    )
    screen, exit_code = in_terminal(
        [*HEFLWR, "run", "--", sys.executable, "-c", code], tmp_path, keys={"ready": b"\x03"}
    )
    assert "times 1\r\n" in screen
    assert 9 == exit_code
    assert "exit code 9" in screen


def test_without_rich_a_terminal_gets_a_hint_and_no_line(tmp_path: Path) -> None:
    """rich is optional: without it one line says how to get it, and everything else works."""
    code = "import sys; sys.modules['rich'] = None; from heflwr.cli import main; sys.exit(main(sys.argv[1:]))"
    screen, exit_code = in_terminal([sys.executable, "-c", code, "run", "--", "echo", "hello"], tmp_path)
    assert 0 == exit_code
    assert "pip install 'heflwr[console]'" in screen
    assert "hello\r\n" in screen
    assert "\x1b[1;" not in screen


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_closed_or_full_stderr_does_not_cost_the_exit_code(redirection: str, tmp_path: Path) -> None:
    """The summary is lost, the command's own exit code is not."""
    shell = f"{shlex.quote(sys.executable)} -m heflwr run -- sh -c 'exit 3' {redirection}"
    assert subprocess.run(["sh", "-c", shell], cwd=tmp_path, check=False).returncode == 3
