"""The resident agent among strangers: directories, sockets and peers that are not ours, and talk without sense."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from agents import Scene, is_alive
from programs import need_root
from waiting import wait_for

from heflwr.flower.client.resident import ANSWER_SECONDS, LINE_BYTES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident agent is for Linux")

NOBODY = 65534


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path / "agents") as made:
        yield made


def refusal(scene: Scene) -> str:
    """Return the note of a client that gets nothing, and assert that no agent was started."""
    resident = scene.resident()
    assert resident.mark() is None
    assert [] == scene.agents()
    return resident.note


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_directory_that_others_may_use_is_refused(scene: Scene, mode: int) -> None:
    """Whatever the others may do there."""
    scene.directory.mkdir()
    scene.directory.chmod(mode)
    assert f"mode {mode:o}; remove it" in refusal(scene)
    assert [] == list(scene.directory.iterdir())


def test_a_directory_that_is_a_link_or_a_file_is_refused(scene: Scene, tmp_path: Path) -> None:
    """Also where it leads to a private one."""
    (tmp_path / "real").mkdir(mode=0o700)
    scene.directory.symlink_to(tmp_path / "real")
    assert "is a link or no directory" in refusal(scene)
    scene.directory.unlink()
    scene.directory.touch()
    assert "is a link or no directory" in refusal(scene)
    scene.directory.unlink()


def test_a_directory_of_somebody_else_is_refused(scene: Scene) -> None:
    """Closed as it may be."""
    need_root("gives a directory away")
    scene.directory.mkdir(mode=0o700)
    os.chown(scene.directory, NOBODY, NOBODY)
    assert f"of user {NOBODY}" in refusal(scene)


def test_a_directory_that_cannot_be_made_is_a_note(scene: Scene, tmp_path: Path) -> None:
    """Its parent is not there."""
    scene.directory = tmp_path / "missing" / "agents"
    assert "No such file or directory" in refusal(scene)


def name_of_an_agent(scene: Scene) -> str:
    """Return what the files of the scene's agent are called; it has ended."""
    resident = scene.met()
    (name,) = {file.stem for file in scene.directory.iterdir()}
    pid = resident.facts["pid"]
    resident.close()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_alive(pid))
    return name


@contextmanager
def impostor(scene: Scene, answer: bytes | None) -> Iterator[list[bytes]]:
    """Listen where the agent would; answer every client's first words. Yields what was heard."""
    heard: list[bytes] = []
    address = scene.address(name_of_an_agent(scene))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    held.append(connection)
                    heard.append(connection.recv(LINE_BYTES))
                    if answer is not None:
                        connection.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()
    os.unlink(address)


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (b"garbage\n", "no JSON"),
        (b"\xff\xfe\0\n", "no JSON"),
        (b"[" * 10_000 + b"\n", "no JSON"),
        (b"[1, 2]\n", "no JSON object"),
        (b"{}\n", "cannot be understood"),
        (b'{"state": "ok", "numbers": [], "facts": {}}\n', "cannot be understood"),
        (b'{"state": ["ok"], "numbers": {}, "facts": {}}\n', "cannot be understood"),
        (b"x" * (1 << 20), "longer than"),
        (None, "did not answer within"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_agent_that_talks_nonsense_is_left(scene: Scene, answer: bytes | None, note: str) -> None:
    """None, a note and no exception, in bounded time; one that said nothing is not waited for again."""
    with impostor(scene, answer):
        resident = scene.resident()
        began = time.monotonic()
        assert resident.mark() is None
        assert time.monotonic() - began < 10 * ANSWER_SECONDS
        assert note in resident.note
        if answer is None:
            assert resident.mark() is None
            assert "did not answer a moment ago" in resident.note
        assert [] == scene.agents()


def test_numbers_that_are_none_are_left_out(scene: Scene) -> None:
    """Only numbers are passed on."""
    answer = b'{"state": "ok", "numbers": {"seconds": 1, "cpu_seconds": "x", "samples": true}, "facts": {}}\n'
    with impostor(scene, answer):
        assert {"seconds": 1.0} == scene.resident().mark()


def test_a_socket_of_somebody_else_is_refused(scene: Scene) -> None:
    """Not a word is said to it."""
    need_root("gives a socket away")
    with impostor(scene, b"{}\n") as heard:
        (path,) = scene.directory.glob("*.socket")
        os.chown(path, NOBODY, NOBODY)
        assert "is not this user's socket" in refusal(scene)
        assert [] == heard


def as_nobody(code: str) -> list[str]:
    """Return a command that runs Python code as another user, who need not be able to read this interpreter."""
    become = f"import os, socket, sys, time; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    return [sys.executable, "-I", "-S", "-c", f"{become}\n{code}"]


def test_somebody_else_who_listens_at_our_socket_is_refused(scene: Scene) -> None:
    """The file is ours, the process behind it is not."""
    need_root("runs a process as another user")
    address = scene.address(name_of_an_agent(scene))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listen = "import socket, time; socket.socket(fileno=0).listen(); print(flush=True); time.sleep(60)"
        with subprocess.Popen(as_nobody(listen), stdin=listener, stdout=subprocess.PIPE, cwd="/") as stranger:
            assert stranger.stdout
            assert stranger.stdout.readline()
            assert f"user {NOBODY} listens" in refusal(scene)
            stranger.kill()


def test_a_stranger_is_not_heard_by_the_agent(scene: Scene) -> None:
    """Somebody else who got at the socket is hung up on; our own clients are served."""
    need_root("runs a process as another user")
    resident = scene.met()
    (path,) = scene.directory.glob("*.socket")
    address = scene.address(path.stem)
    directory = int(address.split("/")[4])
    scene.directory.chmod(0o711)
    path.chmod(0o666)
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"mark": 1, "generation": ""}\\n\'); print(s.recv(100))\n'
        "except ConnectionError: print(b'')"
    )
    done = subprocess.run(
        [*as_nobody(ask), address],
        pass_fds=[directory],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    scene.directory.chmod(0o700)
    assert ("b''\n", "") == (done.stdout, done.stderr)
    assert resident.mark() is not None


@contextmanager
def connected(scene: Scene) -> Iterator[socket.socket]:
    (path,) = scene.directory.glob("*.socket")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        address = scene.address(path.stem)

        def connect() -> bool:
            with suppress(BlockingIOError):  # more are waiting than it has accepted by now
                connection.connect(address)
                return True
            return False

        wait_for(connect)
        yield connection


def is_hung_up(connection: socket.socket) -> bool:
    """Return True once the other end is closed; fail where it answers."""
    try:
        return connection.recv(LINE_BYTES) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "words",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b"\n",
        b"[" * 10_000 + b"\n",
        b"null\n",
        b'{"mark": 2}\n',
        b'{"mark": 1, "generation": ""}\n{"mark": 1, "generation": ""}\n',
        b"x" * (1 << 20),
        b'{"mark": 1',  # and then nothing
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_client_that_talks_nonsense_is_hung_up_on(scene: Scene, words: bytes) -> None:
    """And the agent goes on for others."""
    resident = scene.met()
    with connected(scene) as connection:
        with suppress(ConnectionError):  # hung up on while it was still talking
            connection.sendall(words)
        assert is_hung_up(connection)
    assert resident.mark() is not None
    assert scene.agents() == [resident.facts["pid"]]


def test_silent_clients_are_hung_up_on(scene: Scene) -> None:
    """However many there are: soon there is room again for those who talk."""
    resident = scene.met()
    pid = resident.facts["pid"]
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(scene)) for _ in range(40)]
        newcomer = scene.resident()
        wait_for(newcomer.mark)
        assert pid == newcomer.facts["pid"]
        assert all(map(is_hung_up, silent))


def test_a_client_that_does_not_listen_blocks_nobody(scene: Scene) -> None:
    """It may ask as often as it likes: once its buffer is full it is hung up on."""
    resident = scene.met()
    with connected(scene) as deaf:
        deaf.settimeout(0.05)
        for _ in range(20):
            try:
                deaf.sendall(b'{"mark": 1, "generation": ""}\n')
            except OSError:
                break
        assert resident.mark() is not None
    assert resident.mark() is not None
