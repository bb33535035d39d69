"""The resident agent: found or started without waiting, one a SuperNode, right in its numbers, and gone in time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import CLIENT, Scene, descriptors, is_alive, result
from waiting import wait_for

from heflwr.flower.client.resident import ANSWER_SECONDS, Resident, default_directory
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.prometheus import PrometheusSink

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident agent is for Linux")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path / "agents") as made:
        yield made


def test_the_first_message_starts_an_agent_and_goes_on_without(scene: Scene) -> None:
    """No numbers yet, and a note that says so; the agent comes up meanwhile."""
    resident = scene.resident()
    assert resident.mark() is None
    assert "starting: the agent has been started just now" == resident.note
    assert {} == resident.facts
    wait_for(lambda: resident.mark() or resident.facts)
    assert {"pid", "watched", "sources", "sinks", "live", "notes"} == resident.facts.keys()
    assert scene.agents() == [resident.facts["pid"]]


def test_numbers_are_those_since_the_previous_mark(scene: Scene) -> None:
    """What the SuperNode burned and holds between two marks, whoever made them."""
    with scene.met():
        pass
    burned = scene.supernode.call("burn", 0.4)
    after = scene.resident()
    between = after.mark()
    assert between is not None
    assert "" == after.note
    assert burned["cpu"] == pytest.approx(between["cpu_seconds"], abs=0.03)
    assert burned["wall"] <= between["seconds"]
    held = scene.supernode.call("hold", 50)
    during = after.mark()
    assert during is not None
    assert during["cpu_seconds"] < 0.5 * burned["cpu"]
    assert held == pytest.approx(during["memory_peak_bytes"], rel=0.05)
    assert during["samples"] >= 1
    assert during["samples_seen"] > between["samples_seen"]


def test_an_ended_call_is_no_idle_time(scene: Scene) -> None:
    """The next call is told what lay between the two, to the point, though the end waits for no answer."""
    scene.met().end()
    with scene.resident() as first:
        assert first.mark() is not None
        scene.supernode.call("burn", 0.4)
        first.end()
    burned = scene.supernode.call("burn", 0.2)
    between = scene.resident().mark()
    assert between is not None
    assert burned["cpu"] == pytest.approx(between["cpu_seconds"], abs=0.05)


def test_an_agent_that_came_up_during_a_call_counts_from_its_end(scene: Scene) -> None:
    """The second message has numbers, although the first one found no agent when it began."""
    first = scene.resident()
    assert first.mark() is None
    wait_for(lambda: any(file.suffix == ".socket" for file in scene.directory.iterdir()))
    wait_for(lambda: first.end() or first.facts)
    assert scene.resident().mark() is not None


def test_samples_are_taken_while_nobody_is_there(scene: Scene) -> None:
    """The agent goes on between messages, at its interval."""
    with scene.met(interval=0.05):
        pass
    time.sleep(0.5)
    with scene.resident(interval=0.05) as resident:
        numbers = resident.mark()
    assert numbers is not None
    assert 5 <= numbers["samples"] <= 15


def test_a_call_that_breaks_off_is_not_taken_for_idle_time(scene: Scene) -> None:
    """A client that goes away between its two marks has its call end there."""
    with scene.met():
        pass
    broken = scene.resident()
    assert broken.mark() is not None
    scene.supernode.call("burn", 0.4)
    broken.close()
    numbers = scene.resident().mark()
    assert numbers is not None
    assert numbers["cpu_seconds"] < 0.2


def test_twenty_processes_one_after_the_other_share_an_agent(scene: Scene) -> None:
    """All but the first ones get numbers, all from the same process."""
    scene.met().close()
    results = [result(scene.client()) for _ in range(20)]
    assert {scene.agents()[0]} == {facts["pid"] for _, facts in results}
    assert all(numbers and not note for marks, _ in results for numbers, note in marks)
    seen = [numbers["samples_seen"] for marks, _ in results for numbers, _ in marks]
    assert sorted(seen) == seen


def test_clients_at_once_start_one_agent(scene: Scene) -> None:
    """Whoever comes second to the lock leaves again."""
    for client in [scene.client() for _ in range(4)]:
        result(client)
    pid = scene.met().facts["pid"]
    wait_for(lambda: scene.agents() == [pid])


def test_keys_have_agents_of_their_own(scene: Scene) -> None:
    """Two nodes on one machine do not share one; a key may hold any text."""
    keys = ["node 1", "node 2", "Knöten\n\0 \ud800", "x" * 5000]
    assert len(keys) == len({scene.met(key=key).facts["pid"] for key in keys})


def test_an_idle_agent_ends(scene: Scene) -> None:
    """After its idle time nothing is left: no process, no file."""
    resident = scene.met(idle_seconds=0.2)
    pid = resident.facts["pid"]
    resident.close()
    wait_for(lambda: not is_alive(pid))
    assert [] == list(scene.directory.iterdir())


def test_an_agent_is_not_idle_while_a_client_is_there(scene: Scene) -> None:
    """A training may take longer than the idle time."""
    resident = scene.met(idle_seconds=0.2)
    time.sleep(1.5)  # the agent looks once a second
    assert resident.mark() is not None


@pytest.mark.parametrize("reap", [True, False])
def test_the_agent_ends_with_what_it_watches(scene: Scene, reap: bool) -> None:
    """Also where nobody takes note of the watched process's end; no file is left."""
    pid = scene.met(interval=60).facts["pid"]
    scene.supernode.kill(reap=reap)
    wait_for(lambda: not is_alive(pid))
    assert [] == list(scene.directory.iterdir())


def test_an_agent_whose_socket_is_taken_away_ends(scene: Scene) -> None:
    """Nobody could ever reach it again: the user has logged out, or somebody cleans up."""
    pid = scene.met().facts["pid"]
    for file in scene.directory.iterdir():
        file.unlink()
    wait_for(lambda: not is_alive(pid))


def test_sigterm_ends_the_agent_in_order(scene: Scene, tmp_path: Path) -> None:
    """Its sinks are written to the end and its files are gone; other signals leave it alone."""
    resident = scene.met(sinks=[FileSink(tmp_path / "log.jsonl", format="jsonl")], interval=0.05)
    pid = resident.facts["pid"]
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: (tmp_path / "log.jsonl").read_text().count("\n") > 5)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_alive(pid))
    assert [] == list(scene.directory.iterdir())
    head, *samples = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert ["node 1", scene.supernode.pid] == [head["identifier"], head["pid"]]
    assert list(range(len(samples))) == [sample["sequence"] for sample in samples]


def test_a_killed_agent_is_replaced(scene: Scene) -> None:
    """The call meanwhile goes without; the stale socket and lock are taken over."""
    resident = scene.met()
    pid = resident.facts["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    assert 2 == len(list(scene.directory.iterdir()))
    client = scene.resident()
    assert client.mark() is None
    assert client.note.startswith("starting")
    assert wait_for(lambda: client.mark() or client.facts) != pid
    assert scene.agents() == [client.facts["pid"]] != [pid]
    wait_for(lambda: resident.mark(), what="numbers from the new one")


def test_a_prometheus_endpoint_outlives_the_clients(scene: Scene) -> None:
    """Scraped between two client processes and after them, at one port, with counters that go on."""

    def scrape(url: str) -> float:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = re.search(r"^heflwr_cpu_seconds_total(?:\{.*\})? (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found
        return float(found[1])

    options: dict[str, Any] = {"port": 0, "interval": 0.1}
    wait_for(lambda: result(scene.client(**options))[1])
    (_, facts) = result(scene.client(**options))
    url = facts["sinks"][0]["url"]
    before = scrape(url)
    burned = scene.supernode.call("burn", 0.3)["cpu"]
    wait_for(lambda: scrape(url) >= before + 0.9 * burned)
    (_, later) = result(scene.client(**options))
    assert [url, facts["pid"]] == [later["sinks"][0]["url"], later["pid"]]
    assert scrape(url) >= before + 0.9 * burned


def test_a_sink_that_cannot_open_costs_only_itself(scene: Scene, tmp_path: Path) -> None:
    """Numbers and the other sinks are there, and the note names it."""
    sinks = [FileSink(tmp_path / "no such folder" / "log"), FileSink(tmp_path / "log"), PrometheusSink(0)]
    resident = scene.met(sinks=sinks)
    assert resident.mark() is not None
    assert "no such folder" in resident.note
    assert [False, True, True] == [facts.get("is_open", True) for facts in resident.facts["sinks"]]
    wait_for(lambda: (tmp_path / "log").exists())


def test_what_cannot_be_measured_is_left_out_with_a_note(scene: Scene) -> None:
    """Energy is told, or the note says why not; the rest is there either way."""
    resident = scene.met(groups=["cpu", "energy", "memory"])
    numbers = resident.mark()
    assert numbers is not None
    assert {"cpu_seconds", "memory_peak_bytes"} <= numbers.keys()
    assert ("energy_joules" in numbers) != ("energy: " in resident.note)


class Unpicklable:
    flush_seconds = 0.0

    def __init__(self) -> None:
        self.function = lambda: None

    def open(self, run: Run) -> None: ...
    def write(self, sample: Sample) -> None: ...
    def close(self) -> None: ...
    def facts(self) -> dict[str, Any]:
        return {"sink": "unpicklable"}


def test_a_sink_that_cannot_be_sent_is_refused(scene: Scene) -> None:
    """With a note; no process is started."""
    resident = scene.resident(sinks=[Unpicklable()])
    assert resident.mark() is None
    assert "refused: a sink cannot be sent to the agent" in resident.note


def test_too_large_a_sink_is_refused(scene: Scene) -> None:
    """What does not fit into a pipe would have to be waited for."""
    resident = scene.resident(sinks=[PrometheusSink(0, labels={"long": "x" * 1_000_000})])
    assert resident.mark() is None
    assert "too large" in resident.note


def test_an_agent_that_cannot_run_says_why_and_is_not_started_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink whose class it cannot import: every following client is told, and starts nothing."""
    module = types.ModuleType("only_here")
    sink = type("Sink", (Unpicklable,), {"__module__": "only_here", "__init__": lambda self: None})
    module.Sink = sink  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_here", module)
    assert scene.resident(sinks=[sink()]).mark() is None

    def note() -> str:
        resident = scene.resident(sinks=[sink()])
        assert resident.mark() is None
        return resident.note

    # agents that were on their way when the first failed still begin, and fail
    wait_for(lambda: all(note().startswith("dead: ModuleNotFoundError") for _ in range(3)) and not scene.agents())


def test_another_run_waits_for_its_turn(scene: Scene) -> None:
    """While a run's client is there, one of another run goes without and disturbs nothing."""
    first = scene.met(generation="run 1")
    second = scene.resident(generation="run 2")
    assert second.mark() is None
    assert "refused: the agent serves another run, whose clients are still coming" == second.note
    assert first.mark() is not None


@pytest.mark.slow
def test_another_run_gets_its_turn(scene: Scene, tmp_path: Path) -> None:
    """Once the run before has left, its agent makes way for one with the new run's sinks, on the same fixed file."""
    first = scene.met(generation="run 1", sinks=[FileSink(tmp_path / "one")])
    first.close()
    second = scene.met(generation="run 2", sinks=[FileSink(tmp_path / "two")])
    assert first.facts["pid"] != second.facts["pid"]
    wait_for((tmp_path / "two").exists)
    wait_for(lambda: scene.agents() == [second.facts["pid"]])


def test_the_agent_is_nobodys_child(scene: Scene) -> None:
    """A client that waits for any child does not wait for it; it has a session of its own and holds no terminal."""
    assert "no child is left" == result(scene.client("wait_for_children"))
    pid = scene.met().facts["pid"]
    assert os.getsid(pid) != os.getsid(0)
    for descriptor in range(3):
        assert "/dev/null" == os.readlink(f"/proc/{pid}/fd/{descriptor}")


def test_the_agent_is_in_nobodys_numbers(scene: Scene) -> None:
    """A process that takes orphans in, as the first one in a container does, has the agent as a child all the same."""
    is_child, members_but_itself = result(scene.client("take_orphans_in", pid="self"))
    assert is_child
    assert [] == members_but_itself


def test_flowers_secrets_stay_behind(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent outlives the task, so it does not inherit what Flower gave that in its environment."""
    monkeypatch.setenv("FLWR_SECRET", "of this task")
    monkeypatch.setenv("HEFLWR_OTHER", "stays")
    environment = Path(f"/proc/{scene.met().facts['pid']}/environ").read_bytes()
    assert b"FLWR_SECRET=" not in environment.replace(b"HEFLWR_", b"")
    assert b"HEFLWR_OTHER=stays" in environment


def test_a_forked_child_speaks_on_a_connection_of_its_own(scene: Scene) -> None:
    """And so does not disturb the one that it inherited."""
    scene.met().close()
    assert [True, 0, True] == result(scene.client("mark_in_a_fork"))


FAKE_SUPERNODE = """
import subprocess, sys
inner = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"  # a process in between
for line in sys.stdin:
    subprocess.call([sys.executable, "-c", inner, sys.executable, *line.rstrip("\\n").split("\\t")])
    sys.stdout.flush()
"""


@pytest.mark.parametrize("name", ["flower-supernode", "flower-superexec", "something-else"])
def test_the_supernode_is_found_among_the_ancestors(scene: Scene, tmp_path: Path, name: str) -> None:
    """By its program's name, through processes in between; without one the parent is watched."""
    program = tmp_path / name
    program.write_text(FAKE_SUPERNODE)
    options = json.dumps({"key": "node", "directory": str(scene.directory), "idle_seconds": 0.5})
    with subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as supernode:
        assert supernode.stdin
        assert supernode.stdout

        def meet() -> Any:
            assert supernode.stdin
            assert supernode.stdout
            supernode.stdin.write(f"{CLIENT}\t{options}\n")
            supernode.stdin.flush()
            return json.loads(supernode.stdout.readline())

        if name == "something-else":  # each of its messages has another parent
            marks, facts = meet()
            assert [None, {}] == [marks[0][0], facts]
            wait_for(lambda: not scene.agents())
        else:
            facts = wait_for(lambda: meet()[1])
            assert supernode.pid == facts["watched"]
        scene.agents()
        supernode.stdin.close()
    wait_for(lambda: not scene.agents())


def test_a_client_holds_nothing_when_it_has_closed(scene: Scene) -> None:
    """Every descriptor is given back, whatever came of the marks."""
    before = descriptors()
    resident = scene.met()
    assert before + 1 == descriptors()
    resident.close()
    resident.close()
    assert before == descriptors()


def test_no_mark_waits_for_a_process_to_start(scene: Scene) -> None:
    """Far less than Python needs to start: on a busy machine the bound is the stated one, with a wide margin."""
    resident = scene.resident()
    began = time.monotonic()
    resident.mark()
    assert time.monotonic() - began < 10 * ANSWER_SECONDS


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"key": ""}, ValueError, "key must not be empty"),
        ({"key": 5}, TypeError, "key must be a string, got 5"),
        ({"key": "n", "groups": ["cpu", "smell"]}, ValueError, "got 'smell'"),
        ({"key": "n", "groups": "cpu"}, TypeError, "write"),
        ({"key": "n", "interval": 0}, ValueError, "interval must be from 0.001"),
        ({"key": "n", "idle_seconds": -1}, ValueError, "idle_seconds must be from 0.1"),
        ({"key": "n", "pid": 0}, ValueError, "pid must be from 1"),
    ],
)
def test_wrong_arguments_raise_at_once(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    """With the value and what is allowed."""
    with pytest.raises(error, match=re.escape(text)):
        Resident(**arguments)


def test_a_process_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    """The note says so; nothing is started."""
    resident = Resident("node", directory=tmp_path / "agents", pid=2**22 + 1)
    assert resident.mark() is None
    assert "refused: cannot look at process 4194305" in resident.note


def test_sockets_are_in_the_users_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or, where there is none, beside other temporary files, with the user's number in the name."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert str(tmp_path / "heflwr") == default_directory()
    for none in ("", "relative", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", none)
        assert default_directory().endswith(f"/heflwr-{os.geteuid()}")


ELSEWHERE = """
import sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):  # what Windows does not have
    sys.modules[name] = None
import os, socket, tempfile  # the last one looks at the platform
for module, name in [(os, "geteuid"), (os, "register_at_fork"), (os, "O_CLOEXEC"), (os, "O_DIRECTORY"), (os, "fork")]:
    delattr(module, name)
delattr(socket, "AF_UNIX")
sys.platform = "win32"
from heflwr.flower.client.resident import Resident
with Resident("node") as resident:
    print(resident.mark(), resident.note, "psutil" in sys.modules)
"""


def test_elsewhere_there_is_none(tmp_path: Path) -> None:
    """On a system without Linux's calls the module imports, and a mark is None with a note."""
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert ("None there is no resident agent on win32, only on Linux False\n", "") == (found.stdout, found.stderr)
