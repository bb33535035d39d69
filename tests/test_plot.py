"""`heflwr plot`: a picture of what is in the file, and a clear word where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from heflwr.cli import main
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
from heflwr.flower.history.stream import HistoryFile
from heflwr.monitor.metrics import METRICS, in_groups
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink

pytest.importorskip("matplotlib")


def write_run(path: Path, name: str, *, started: float = 1_800_000_000.0, groups: str = "cpu memory network") -> None:
    metrics = in_groups({metric.group: metric.group in groups.split() for metric in METRICS})
    sink = FileSink(path, format="jsonl")
    sink.open(Run(identifier=f"client-{name}", run=name, pid=1, started=started, interval=1.0, metrics=metrics))
    for k in range(1, 30):
        sink.write(Sample(k, started + k, float(k), tuple(float((k * (i + 3)) % 50) for i in range(len(metrics)))))
    sink.close()


def pixels(png: Path) -> tuple[int, int, int]:
    """Return width, height and the number of different colours."""
    from matplotlib import image

    data = image.imread(png)
    height, width = data.shape[:2]
    return width, height, len(set((data[..., :3] @ (1, 1 << 8, 1 << 16)).ravel().tolist()))


def test_a_png_with_something_in_it_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default the picture lies next to the file, and what was drawn is told."""
    write_run(tmp_path / "log.jsonl", "aa11")
    assert 0 == main(["plot", str(tmp_path / "log.jsonl")])
    width, height, colours = pixels(tmp_path / "log.png")
    assert width > 800
    assert height > 500
    assert colours > 50
    assert f"{tmp_path / 'log.png'}: run aa11 (29 samples)\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("groups", "titles"),
    [
        ("cpu", ["CPU"]),
        ("cpu memory network", ["CPU", "Memory", "Network"]),
        ("power", ["Power"]),
        ("energy", ["Power by counted energy"]),
        ("disk gpu threads", ["Disk", "GPU", "GPU memory", "GPU power", "Threads and files", "Context switches"]),
    ],
)
def test_there_is_a_panel_for_each_group_in_the_file(groups: str, titles: list[str], tmp_path: Path) -> None:
    """Panels with data are drawn, others are not; each has a title, and the time axis a unit."""
    write_run(tmp_path / "log.jsonl", "aa11", groups=groups)
    assert 0 == main(["plot", str(tmp_path / "log.jsonl"), "-o", str(tmp_path / "run.svg")])
    drawn = (tmp_path / "run.svg").read_text()
    every = ["CPU", "Memory", "Network", "Power", "Power by counted energy", "Disk", "GPU", "GPU memory", "GPU power"]
    every += ["Threads and files", "Context switches"]
    assert titles == [title for title in every if f"<!-- {title} -->" in drawn]
    assert "<!-- time since the run's start, seconds -->" in drawn


def test_memory_and_network_have_units_people_use(tmp_path: Path) -> None:
    """Bytes get the prefix that fits, increments are drawn per second."""
    write_run(tmp_path / "log.jsonl", "aa11")
    main(["plot", str(tmp_path / "log.jsonl"), "-o", str(tmp_path / "run.svg")])
    drawn = (tmp_path / "run.svg").read_text()
    assert "<!-- B -->" in drawn
    assert "<!-- B/s -->" in drawn
    assert "<!-- % of the machine -->" in drawn
    assert "<!-- sent -->" in drawn
    assert "<!-- received -->" in drawn


def test_the_newest_run_is_drawn_and_others_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest is the one that started last, wherever it is in the file; --run names another, --all takes all."""
    log, picture = tmp_path / "log.jsonl", tmp_path / "run.svg"
    write_run(log, "bb22", started=1_800_000_500.0)
    write_run(log, "aa11", started=1_800_000_000.0)
    write_run(log, "aa33", started=1_700_000_000.0)
    assert 0 == main(["plot", str(log), "-o", str(picture)])
    assert "run bb22 (29 samples); 2 more in the file" in capsys.readouterr().out
    assert "client-bb22" in (picture).read_text()
    assert 0 == main(["plot", str(log), "-o", str(picture), "--run", "aa3"])
    assert "run aa33" in capsys.readouterr().out
    assert 0 == main(["plot", str(log), "-o", str(picture), "--all"])
    assert all(f"client-{name} " in (picture).read_text() for name in ("bb22", "aa11", "aa33"))


def test_many_runs_still_make_a_picture(tmp_path: Path) -> None:
    """Forty runs are drawn, and the legend stays readable: it names some of them."""
    log = tmp_path / "log.jsonl"
    for k in range(40):
        write_run(log, f"run{k:02}", started=1_800_000_000.0 + k)
    assert 0 == main(["plot", str(log), "--all", "-o", str(tmp_path / "run.svg")])
    assert 10 <= (tmp_path / "run.svg").read_text().count("<!-- client-run") <= 16


@pytest.mark.parametrize(("run", "reason"), [("zz", "there is no run 'zz'"), ("aa", "2 runs begin with 'aa'")])
def test_a_run_that_is_not_clear_is_refused_with_the_choice(
    run: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer lists the runs that there are."""
    write_run(tmp_path / "log.jsonl", "aa11")
    write_run(tmp_path / "log.jsonl", "aa33")
    assert 1 == main(["plot", str(tmp_path / "log.jsonl"), "--run", run])
    said = capsys.readouterr().err
    assert reason in said
    assert "aa11" in said
    assert "aa33" in said
    assert not (tmp_path / "log.png").exists()


def test_torn_lines_are_reported_and_the_rest_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of lines left out is told on stderr."""
    log = tmp_path / "log.jsonl"
    write_run(log, "aa11")
    with log.open("a") as file:
        file.write('{"run": "aa11", "seq\nTraceback (most recent call last):\n')
    assert 0 == main(["plot", str(log)])
    said = capsys.readouterr()
    assert "left out 2 lines that are torn or no samples" in said.err
    assert "(29 samples)" in said.out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        ("", "holds no samples"),
        ("hello\n", "holds no samples"),
        ("\0\xff\n", "holds no samples"),
    ],
)
def test_a_file_without_samples_is_refused(
    content: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file, an empty one or one of something else: exit code 1, and the reason."""
    log = tmp_path / "log.jsonl"
    if content is not None:
        log.write_text(content, encoding="latin-1")
    assert 1 == main(["plot", str(log)])
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "log.png").exists()


@pytest.mark.parametrize("image", ["no/such/folder/run.png", "run.docx"])
def test_a_picture_that_cannot_be_written_is_refused(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An impossible place or format: exit code 1, and the reason."""
    write_run(tmp_path / "log.jsonl", "aa11")
    assert 1 == main(["plot", str(tmp_path / "log.jsonl"), "-o", str(tmp_path / image)])
    assert "cannot write" in capsys.readouterr().err


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path) -> None:
    """The extra is named, and nothing else is printed."""
    write_run(tmp_path / "log.jsonl", "aa11")
    code = "import sys; sys.modules['matplotlib'] = None; from heflwr.cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, "plot", str(tmp_path / "log.jsonl")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (1, "heflwr plot: drawing needs matplotlib: pip install 'heflwr[plot]'\n") == (
        result.returncode,
        result.stderr,
    )


def test_a_measured_command_can_be_drawn(tmp_path: Path) -> None:
    """The two commands of the documentation, one after the other."""
    heflwr = [sys.executable, "-m", "heflwr"]
    subprocess.run([*heflwr, "run", "--format", "jsonl", "--", "true"], cwd=tmp_path, check=True, timeout=60)
    subprocess.run([*heflwr, "plot", "log.jsonl", "-o", "run.png"], cwd=tmp_path, check=True, timeout=60)
    assert pixels(tmp_path / "run.png")[2] > 20


def flower_history() -> History:
    history = History()
    for number in (1, 2):
        for node in (1, 2, 3):
            sent = 1_800_000_000.0 + 10 * number
            cost = {"seconds": float(node), "cpu_seconds": 0.5 * node}
            history.add(Entry(node, str(node), number, "train", sent, sent + 5, started=sent, cost=cost))
    return history


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_history_of_a_flower_run_is_known_by_what_is_in_it(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each format, whatever the file is called; what was drawn is told."""
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    flower_history().save(tmp_path / f"history.{ending}")
    (tmp_path / f"history.{ending}").rename(tmp_path / "renamed")
    assert 0 == main(["plot", str(tmp_path / "renamed"), "-o", str(tmp_path / "run.svg")])
    assert f"{tmp_path / 'run.svg'}: history of 3 nodes, 2 rounds, 6 messages\n" == capsys.readouterr().out
    assert "<!-- Calls, by round -->" in (tmp_path / "run.svg").read_text()


def test_a_history_that_a_crash_cut_off_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the server's sink leaves it; the torn line is told on stderr, and the picture lies next to the file."""
    sink = HistoryFile(tmp_path / "history.jsonl")
    sink.open(History())
    for entry in flower_history().entries:
        sink.entry(entry)
    sink.close()
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"type":"mess')
    assert 0 == main(["plot", str(tmp_path / "history.jsonl")])
    assert "left out 1 lines that are torn or no messages" in capsys.readouterr().err
    assert pixels(tmp_path / "history.png")[2] > 20


@pytest.mark.parametrize(
    ("arguments", "content", "reason"),
    [
        (["--run", "aa"], None, "--run and --all choose from files of samples"),
        (["--all"], None, "--run and --all choose from files of samples"),
        (["-o", "no/such/folder/run.png"], None, "cannot write"),
        (["-o", "run.docx"], None, "cannot write"),
        ([], '{"type":"heflwr history","version":1}\n', "a history without messages"),
        ([], '{"type":"heflwr history","version":99,"heflwr":"9.1"}\n', "update heflwr"),
        ([], '{"type":"heflwr history"\n', "is no history"),
    ],
)
def test_a_history_that_cannot_be_drawn_is_refused(
    arguments: list[str],
    content: str | None,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1, the reason on stderr, and no picture."""
    monkeypatch.chdir(tmp_path)
    flower_history().save("history.jsonl")
    if content is not None:
        Path("history.jsonl").write_text(content)
    assert 1 == main(["plot", "history.jsonl", *arguments])
    assert reason in capsys.readouterr().err
    assert ["history.jsonl"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("matplotlib", "drawing needs matplotlib: pip install 'heflwr[plot]'"),
        ("pyarrow", "Parquet needs pyarrow: pip install 'heflwr[parquet]'"),
    ],
)
def test_a_history_says_what_package_it_needs(package: str, reason: str, tmp_path: Path) -> None:
    """The extra is named, and nothing else is printed."""
    log = tmp_path / "history.jsonl"
    flower_history().save(log)
    if package == "pyarrow":
        log = tmp_path / "history.parquet"
        log.write_bytes(b"PAR1 and more")
    code = f"import sys; sys.modules[{package!r}] = None; from heflwr.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "plot", str(log)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (1, f"heflwr plot: {reason}\n") == (result.returncode, result.stderr)
