"""`heflwr run` to other machines: a Prometheus endpoint and a collector, for as long as the command runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Collected, collector, free_port, get

from heflwr.cli import main

pytestmark = [
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # of JAX, where another test of the process used it
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

TOKEN = "a-token"

ASK = """\
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ask = urllib.request.Request(sys.argv[2] + "/api/v1/targets", headers={"Authorization": "Bearer " + sys.argv[3]})
for _ in range(200):
    text = opener.open(sys.argv[1]).read().decode()
    if "heflwr_samples_total" in text and b"here.example" in (known := opener.open(ask).read()):
        break
    time.sleep(0.05)
open(sys.argv[4], "w").write(text + known.decode())
"""
"""The command that is measured looks for itself at what is told of it."""


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    monkeypatch.setenv("HEFLWR_COLLECTOR_TOKEN", TOKEN)
    with collector(tmp_path / "collector.db", token=TOKEN) as running:
        yield running


def test_samples_are_served_and_sent_while_the_command_runs(tmp_path: Path, receiver: Collected) -> None:
    """Both under the identifier; the collector tells Prometheus where, and no longer when the command has ended."""
    seen, port = tmp_path / "seen", free_port()
    options = f"--quiet --interval 0.1 --identifier node-7 --prometheus {port} --collector {receiver.url}".split()
    command = [sys.executable, "-c", ASK, f"http://127.0.0.1:{port}/metrics", receiver.url, TOKEN, str(seen)]
    assert 0 == main(["run", *options, "--advertise", "here.example", "--", *command])
    assert 'heflwr_cpu_seconds_total{identifier="node-7"}' in seen.read_text()
    assert f'"here.example:{port}"' in seen.read_text()
    samples = receiver.samples(identifier="node-7")
    assert len(samples) > 1
    assert sum(sample["values"]["cpu_seconds"] for sample in samples) > 0
    assert (200, []) == get(f"{receiver.url}/api/v1/targets", TOKEN)


def test_a_port_in_use_is_found_before_the_command_begins(
    tmp_path: Path, receiver: Collected, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 125, and the command has done nothing."""
    port = receiver.url.rpartition(":")[2]
    command = [sys.executable, "-c", f"open({str(tmp_path / 'begun')!r}, 'w')"]
    assert 125 == main(["run", "--quiet", "--prometheus", port, "--", *command])
    assert port in capfd.readouterr().err
    assert not (tmp_path / "begun").exists()


def test_a_command_is_told_where_it_is_served_and_what_did_not_arrive(capfd: pytest.CaptureFixture[str]) -> None:
    """The port that was picked before the command begins; what a collector that is away did not get, at the end."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", "import sys; print('begun', file=sys.stderr); sys.exit(7)"]
    assert 7 == main(["run", "--prometheus", "0", "--collector", url, "--", *command])
    told = capfd.readouterr().err
    assert re.search(r"heflwr: metrics on http://127.0.0.1:[1-9]\d*/metrics\n(.*\n)*begun", told)
    assert re.search(rf"heflwr: (\d+) of \1 samples did not reach {url}: cannot reach", told)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prometheus-host", "0.0.0.0"], "give --prometheus as well"),
        (["--identifier", ""], "--identifier must not be empty"),
        (["--identifier", "x" * 257], "--identifier must have 1 to 256 characters, got 257"),
        (["--prometheus", "70000"], "70000"),
        (["--collector", "ftp://collector"], "ftp://collector"),
        (["--advertise", "here.example"], "give --prometheus and --collector as well"),
        (["--prometheus", "0", "--advertise", "here.example"], "give --prometheus and --collector as well"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with what was given or what is missing."""
    with pytest.raises(SystemExit, match="2"):
        main(["run", *options, "--", "true"])
    assert said in capsys.readouterr().err
