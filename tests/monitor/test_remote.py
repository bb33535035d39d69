"""RemoteMonitor against a real collector: everything arrives, once, under the right name."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from programs import need
from servers import Collected, CollectorProcess, FaultyServer, collector, free_port, get, reply
from waiting import wait_for

from heflwr.monitor import Monitor, SinkUnavailable, process_monitor, thread_monitor
from heflwr.monitor.sinks.remote import RemoteSink

BOTH = pytest.mark.parametrize("monitors", [process_monitor, thread_monitor], ids=["process", "thread"])


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def facts(monitor: Monitor) -> dict[str, Any]:
    return monitor.health.sinks[0]


def has_sent(monitor: Monitor, samples: int) -> bool:
    """Return whether the collector took something and so many samples are there: what is left goes at stop()."""
    return facts(monitor)["sent"] > 0 and len(monitor.samples()) >= samples


def as_stored(monitor: Monitor) -> list[tuple[int, float, dict[str, Any]]]:
    """Return the monitor's own samples in the collector's terms."""
    return [
        (int(sample.pop("sequence") or 0), float(sample.pop("time") or 0), dict(list(sample.items())[1:]))
        for sample in monitor.samples()
    ]


def stored(collected: Collected, **filters: Any) -> list[tuple[int, float, dict[str, Any]]]:
    found = collected.samples(**filters)
    return sorted((sample["sequence"], sample["time"], sample["values"]) for sample in found)


@BOTH
@pytest.mark.parametrize("simple", [True, False])
def test_the_collector_holds_what_the_monitor_measured(tmp_path: Path, monitors: Any, simple: bool) -> None:
    """Every sample arrives with the very same sequence, time and values, and is counted as sent."""
    identifier = "client %d {x}\n\t" + '"é中🌡' + "\x00'; DROP TABLE samples"
    with collector(tmp_path / "heflwr.db") as collected:
        monitor = monitors.RemoteMonitor(collected.address, interval=0.02, identifier=identifier, simple=simple)
        with monitor:
            wait_for(lambda: has_sent(monitor, 20))
        identifier = identifier.replace("\x00", "\\x00")  # no database of texts takes it
        assert stored(collected, identifier=identifier) == as_stored(monitor)
        told = facts(monitor)
        (client,) = get(f"{collected.url}/api/v1/clients")[1]["clients"]
    assert told == {
        "sink": "remote",
        "url": collected.url,
        "sent": len(monitor.samples()),
        "waiting": 0,
        "dropped": 0,
        "spooled": 0,
        "last_error": "",
    }
    about = client["about"]
    assert (client["identifier"], client["samples"]) == (identifier, told["sent"])
    if simple:
        assert about == {}
    else:
        assert about["pid"] == os.getpid()
        assert about["interval"] == 0.02
        assert about["units"]["cpu_usage"] == "percent"
        assert about["versions"].keys() >= {"heflwr", "python", "platform"}
        assert about["sources"].keys() == {"cpu", "memory", "network"}


@BOTH
def test_two_monitors_send_their_own_samples_to_their_own_collector(tmp_path: Path, monitors: Any) -> None:
    """Neither stream, nor identifier, mixes with the other's."""
    with collector(tmp_path / "a.db") as a, collector(tmp_path / "b.db") as b:
        one = monitors.RemoteMonitor(a.address, interval=0.05, identifier="one", spool=tmp_path / "spool")
        two = monitors.RemoteMonitor(b.address, interval=0.05, identifier="two", spool=tmp_path / "spool")
        with one, two:
            wait_for(lambda: has_sent(one, 4) and has_sent(two, 4))
        assert stored(a) == as_stored(one)
        assert stored(b) == as_stored(two)
        assert {sample["identifier"] for sample in a.samples()} == {"one"}
        assert {sample["identifier"] for sample in b.samples()} == {"two"}


@BOTH
def test_each_start_is_a_run_of_its_own(tmp_path: Path, monitors: Any) -> None:
    """A restarted monitor begins at sequence 0 again, and nothing is taken for a duplicate."""
    with collector(tmp_path / "heflwr.db") as collected:
        monitor = monitors.RemoteMonitor(collected.address, interval=0.05)
        total = 0
        for _ in range(2):
            with monitor:
                wait_for(lambda: has_sent(monitor, 3))
            total += len(monitor.samples())
        assert len(collected.samples()) == total
        assert len({sample["run"] for sample in collected.samples()}) == 2


@BOTH
def test_a_collector_that_comes_later_gets_everything(tmp_path: Path, monitors: Any) -> None:
    """An unreachable collector is no error at start(); it shows in health, and the samples wait."""
    port = free_port()
    monitor = monitors.RemoteMonitor(f"127.0.0.1:{port}", interval=0.05)
    with monitor:
        told = wait_for(lambda: facts(monitor)["last_error"] and facts(monitor))
        assert told["sent"] == 0
        assert "cannot reach" in told["last_error"]
        with collector(tmp_path / "heflwr.db", port=port) as collected:
            wait_for(lambda: facts(monitor)["sent"] > 0)
            monitor.stop()
            assert stored(collected) == as_stored(monitor)


def test_a_collector_that_is_away_for_a_while_gets_everything(tmp_path: Path) -> None:
    """What was measured during an outage is sent after it, each sample once."""
    port, database = free_port(), tmp_path / "heflwr.db"
    monitor = thread_monitor.RemoteMonitor(f"127.0.0.1:{port}", interval=0.05)
    with monitor:
        for number in (signal.SIGKILL, signal.SIGTERM):
            before = facts(monitor)["sent"]
            with CollectorProcess(database, port=port) as served:
                wait_for(lambda before=before: facts(monitor)["sent"] > before)
                served.end(number)
            length = len(monitor.samples())
            wait_for(lambda length=length: len(monitor.samples()) > length + 10)
        with collector(database, port=port) as collected:
            wait_for(lambda: facts(monitor)["waiting"] < 5)
            monitor.stop()
            assert stored(collected) == as_stored(monitor)
    assert facts(monitor)["dropped"] == 0


@BOTH
def test_a_monitor_prints_nothing(tmp_path: Path, monitors: Any) -> None:
    """Samples go to the collector, and not one character of them to the terminal of whoever trains."""
    with collector(tmp_path / "heflwr.db") as collected:
        script = textwrap.dedent(f"""
            import time
            from {monitors.__name__} import RemoteMonitor
            with RemoteMonitor({collected.address!r}, 0.02, "quiet") as monitor:
                while monitor.health.sinks[0]["sent"] == 0 or len(monitor.samples()) < 10:
                    time.sleep(0.01)
        """)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
        assert len(collected.samples(identifier="quiet")) >= 10
    assert (ended.stdout, ended.stderr) == (b"", b"")


@pytest.mark.parametrize("runner", ["process", "thread"])
@pytest.mark.parametrize("simple", [True, False])
def test_a_killed_client_loses_nothing_that_was_spooled(tmp_path: Path, simple: bool, runner: str) -> None:
    """After SIGKILL the next run with the same spool sends the rest first, under its old name; each sample once."""
    port, spool = free_port(), tmp_path / "spool"
    script = textwrap.dedent(f"""
        import time
        from heflwr.monitor.{runner}_monitor import RemoteMonitor
        monitor = RemoteMonitor("127.0.0.1:{port}", 0.01, "killed", {simple}, spool={os.fspath(spool)!r})
        monitor.start()
        while len(monitor.samples()) < 40: time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        agents = psutil.Process(client.pid).children()
        assert len(agents) == (runner == "process")
        client.kill()
    assert psutil.wait_procs(agents, timeout=20)[1] == []  # it sees that its parent is gone, and ends
    (segment,) = spool.glob("*/*/*.jsonl")
    rows = [json.loads(line) for line in segment.read_bytes().splitlines()[1:]]
    assert len(rows) >= 40
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        with process_monitor.RemoteMonitor(f"127.0.0.1:{port}", 0.05, "next", spool=spool) as monitor:
            wait_for(lambda: facts(monitor)["sent"] >= len(rows))
        found = collected.samples(identifier="killed")
        assert sorted((sample["sequence"], sample["time"]) for sample in found) == [(row[0], row[1]) for row in rows]
        assert stored(collected, identifier="next") == as_stored(monitor)
        assert facts(monitor)["sent"] == len(rows) + len(monitor.samples())
    assert list(spool.glob("*/*")) == [], "what was sent is not kept"


def test_a_killed_agent_loses_nothing_that_was_spooled(tmp_path: Path) -> None:
    """The sampling child itself may die: its spool is sent by the next run."""
    port, spool = free_port(), tmp_path / "spool"
    monitor = process_monitor.RemoteMonitor(f"127.0.0.1:{port}", 0.02, "agent", spool=spool)
    with monitor:
        wait_for(lambda: len(monitor.samples()) > 20)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in children:
            if b"heflwr.monitor.runners._agent" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: monitor.failure)
    samples = as_stored(monitor)
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        with thread_monitor.RemoteMonitor(f"127.0.0.1:{port}", 1, "next", spool=spool):
            wait_for(lambda: len(collected.samples(identifier="agent")) >= len(samples))
        assert stored(collected, identifier="agent")[: len(samples)] == samples


@BOTH
def test_a_spool_keeps_what_stop_could_not_send(tmp_path: Path, monitors: Any) -> None:
    """A run whose collector never came leaves its samples on disk; without a spool they are counted as dropped."""
    port, spool = free_port(), tmp_path / "spool"
    for identifier, directory in (("kept", spool), ("lost", None)):
        monitor = monitors.RemoteMonitor(f"127.0.0.1:{port}", 0.05, identifier, spool=directory)
        with monitor:
            wait_for(lambda monitor=monitor: facts(monitor)["last_error"])
        told, count = facts(monitor), len(monitor.samples())
        if directory is None:
            assert (told["waiting"], told["spooled"], told["dropped"]) == (0, 0, count)
        else:
            assert (told["waiting"], told["spooled"], told["dropped"]) == (count, count, 0)
            samples = as_stored(monitor)
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        with monitors.RemoteMonitor(f"127.0.0.1:{port}", 1, "next", spool=spool):
            wait_for(lambda: len(collected.samples(identifier="kept")) >= len(samples))
        assert stored(collected, identifier="kept") == samples
        assert stored(collected, identifier="lost") == []


@BOTH
def test_stop_does_not_wait_for_a_server_that_hangs(monitors: Any) -> None:
    """stop() is back after flush_seconds and a little, whatever the server does, and says what it lost."""
    with FaultyServer() as server:
        monitor = monitors.RemoteMonitor(server.address, 0.05, timeout=600, flush_seconds=0.5)
        with monitor:
            wait_for(lambda: server.requests)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert facts(monitor)["dropped"] == len(monitor.samples())
        assert monitor.failure == ""


@BOTH
def test_the_token_opens_the_collector(tmp_path: Path, monitors: Any) -> None:
    """With the right token samples arrive; with a wrong one they wait, and health says why, without the token."""
    with collector(tmp_path / "heflwr.db", token="s3cret") as collected:
        with monitors.RemoteMonitor(collected.address, 0.05, token="s3cret") as monitor:
            wait_for(lambda: has_sent(monitor, 4))
        assert stored(collected) == as_stored(monitor)
        with monitors.RemoteMonitor(collected.address, 0.05, "wrong", token="wr0ng") as monitor:
            told = wait_for(lambda: facts(monitor)["last_error"] and facts(monitor))
        assert "answered 401: this token is not known here" in told["last_error"]
        assert "wr0ng" not in json.dumps(told)
        assert told["dropped"] == 0
        assert stored(collected, identifier="wrong") == []


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a made-up authority (ca.pem) and a certificate of it for 127.0.0.1 (server.pem)."""
    openssl, home = need("openssl"), tmp_path_factory.mktemp("authority")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    commands = [
        [*new, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem",
         "-addext", "keyUsage=critical,keyCertSign"],
        [*new, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key",
         "-keyout", "server.key", "-out", "server.pem"],
    ]  # fmt: skip
    for command in commands:
        subprocess.run(command, cwd=home, check=True, capture_output=True)
    return home


@BOTH
def test_https_is_checked_against_the_authority(tmp_path: Path, authority: Path, monitors: Any) -> None:
    """With the authority's file samples arrive; without it the server is not trusted and gets nothing."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "server.pem", authority / "server.key")
    with collector(tmp_path / "heflwr.db", tls=tls) as collected:
        with monitors.RemoteMonitor(collected.url, 0.05, verify=os.fspath(authority / "ca.pem")) as monitor:
            wait_for(lambda: has_sent(monitor, 4))
        assert stored(collected) == as_stored(monitor)
        with monitors.RemoteMonitor(collected.url, 0.05, "distrustful") as monitor:
            told = wait_for(lambda: facts(monitor)["last_error"] and facts(monitor))
        assert "CERTIFICATE_VERIFY_FAILED" in told["last_error"]
        assert stored(collected, identifier="distrustful") == []


@BOTH
def test_what_cannot_be_had_is_named_by_start(tmp_path: Path, monitors: Any) -> None:
    """A spool that is a file, or an authority that is not there, is an error of start()."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkUnavailable, match=r"cannot spool to .*file.*choose another directory"):
        monitors.RemoteMonitor(spool=tmp_path / "file").start()
    with pytest.raises(SinkUnavailable, match=r"missing\.pem, which does not exist"):
        monitors.RemoteMonitor(verify=os.fspath(tmp_path / "missing.pem")).start()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"host": 5000}, TypeError, "host must be a string, got 5000"),
        ({"host": ""}, ValueError, "host must be an address"),
        ({"host": "localhost"}, ValueError, "write 'localhost:5000'"),
        ({"host": "localhost:x"}, ValueError, "host must be an address"),
        ({"host": "localhost:99999"}, ValueError, "host must be an address"),
        ({"host": "ftp://localhost:1"}, ValueError, "got 'ftp://localhost:1'"),
        ({"host": "http://"}, ValueError, "host must be an address"),
        ({"host": "local host:1"}, ValueError, "host must be an address"),
        ({"host": "localhost:1\nX: y"}, ValueError, "host must be an address"),
        ({"host": "http://u:p@localhost"}, ValueError, "give a secret as token="),
        ({"host": "http://localhost?a=b"}, ValueError, "an address alone"),
        ({"simple": "yes"}, TypeError, "simple must be True or False"),
        ({"token": 5}, TypeError, "token must be a string"),
        ({"token": ""}, ValueError, "token must be visible ASCII"),
        ({"token": "a\nb"}, ValueError, "token must be visible ASCII"),
        ({"verify": 1.5}, TypeError, "verify must be True, False or a path"),
        ({"timeout": 0}, ValueError, "timeout must be from"),
        ({"timeout": float("nan")}, ValueError, "timeout must be from"),
        ({"timeout": "5"}, TypeError, "timeout must be a number"),
        ({"flush_seconds": -1}, ValueError, "flush_seconds must be from 0"),
        ({"flush_seconds": True}, TypeError, "flush_seconds must be a number"),
    ],
)
def test_a_wrong_argument_is_named_by_the_constructor(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Raised in the caller's thread, with the value and the way out."""
    with pytest.raises(error, match=text):
        RemoteSink(**{"host": "127.0.0.1:5000", **arguments})


@pytest.mark.parametrize("host", ["[::1]:5000", "HTTP://Example.org", "https://example.org/behind/a/path/"])
def test_addresses_of_all_kinds_are_taken(host: str) -> None:
    """IPv6, any case, and a collector that lives under a path."""
    RemoteSink(host)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_at_any_moment_is_not_harmed() -> None:
    """Whatever the sending thread is at when the workload forks, the child can import, look up names and connect."""
    script = textwrap.dedent("""
        import os, signal, socket, sys, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads exist is what is tested
        from heflwr.monitor.thread_monitor import RemoteMonitor
        with RemoteMonitor("localhost:1", 0.01, flush_seconds=0):
            for number in range(30):
                if (child := os.fork()) == 0:
                    signal.alarm(20)
                    import encodings.idna, json, requests, ssl
                    socket.getaddrinfo("localhost", 80)
                    os._exit(0)
                if os.waitpid(child, 0)[1] != 0:
                    sys.exit(f"child {number} hung")
                time.sleep(0.01 if number < 20 else 0.1)
    """)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr


def test_nothing_is_imported_before_start() -> None:
    """The HTTP library costs a tenth of a second and is loaded by the sending thread."""
    script = (
        "import sys; from heflwr.monitor.process_monitor import RemoteMonitor; RemoteMonitor();"
        "sys.exit('requests' in sys.modules or 'fcntl' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path={sys.path!r}; {script}"], check=False
        ).returncode
        == 0
    )


def test_small_batches_go_as_they_are_and_large_ones_packed(tmp_path: Path) -> None:
    """Bodies over a kilobyte are gzipped; requests come every few seconds, not once a sample."""

    def answer(handler: Any, body: bytes) -> None:
        import gzip

        rows = json.loads(gzip.decompress(body) if handler.headers["Content-Encoding"] else body)["rows"]
        reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode())

    with FaultyServer(answer) as server:
        with thread_monitor.RemoteMonitor(server.address, 0.01) as monitor:
            wait_for(lambda: has_sent(monitor, 51))
        assert facts(monitor)["sent"] == len(monitor.samples())
        with thread_monitor.RemoteMonitor(server.address, 60) as monitor:
            wait_for(lambda: facts(monitor)["sent"] == 1)
        packed = [headers.get("Content-Encoding") for _, headers, _ in server.requests]
        assert "gzip" in packed[:-1]  # the very first row goes at once
        assert packed[-1] is None
        assert len(server.requests) < 10


def test_the_collectors_command_and_a_monitor_work_together(tmp_path: Path) -> None:
    """The two commands of the quick start, for real."""
    with CollectorProcess(tmp_path / "heflwr.db") as served:
        with process_monitor.RemoteMonitor(served.address, 0.1, "quick") as monitor:
            wait_for(lambda: has_sent(monitor, 3))
        status, answer = get(f"{served.url}/api/v1/samples?identifier=quick")
    assert status == 200
    assert [sample["sequence"] for sample in answer["samples"]] == list(range(len(monitor.samples())))
