"""A real Flower deployment on loopback ports: a SuperLink and SuperNodes, and apps that are run on them.

Every process of a deployment has its MARK in its environment, so that it is found also when its parents are gone.
The command lines are those of flwr 1.41; earlier versions had more ports, and tests that use this are skipped there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
from programs import need
from servers import free_port
from waiting import wait_for

PROGRAMS = Path(sys.executable).parent
"""Flower's executables lie beside Python's; they start each other by name, so this comes first in PATH."""

FLOWER = tuple(int(part) for part in version("flwr").split(".")[:2])
FIRST_FLOWER = (1, 41)

ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",  # seconds; 1 by default
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

MARK = "HEFLWR_TESTED_DEPLOYMENT"
"""Variable that holds the deployment's folder; nobody reads it but us."""

AGENT = "_agent resident"
"""In the command line of a resident agent, and in no other."""

START_SECONDS = 60.0
RUN_SECONDS = 150.0
"""Far more than it takes, even on a machine that is busy with other things: whoever waits so long waits in vain."""

GRACE_SECONDS = 15.0
"""Until a process that was asked to end is killed."""

LOG_CHARACTERS = 4000
"""How much of each log a failure shows."""

SUPERLINK = "tested"
"""What the SuperLink is called in Flower's configuration."""

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
description = "Runs in heflwr's tests"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "heflwr"

[tool.flwr.app.components]
serverapp = "{module}:{server}"
clientapp = "{module}:{client}"

[tool.flwr.app.config]
{config}
"""


def write_app(folder: Path, source: Path, *, server: str, client: str, config: dict[str, Any]) -> Path:
    """Write a Flower app of one module, whose attributes `server` and `client` are its two sides; return its folder."""
    folder.mkdir(parents=True)
    (folder / source.name).write_text(source.read_text())
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in config.items())
    text = PYPROJECT.format(name=folder.name, module=source.stem, server=server, client=client, config=lines)
    (folder / "pyproject.toml").write_text(text)
    return folder


@dataclass(frozen=True)
class Certificates:
    """Files of a certificate authority that openssl made, and of the server's certificate that it signed."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Return new ones for 127.0.0.1. Skips the test where there is no openssl."""
        openssl = need("openssl")
        folder.mkdir(parents=True)
        names = folder / "names"
        names.write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        authority = ["-x509", "-days", "2", "-subj", "/CN=heflwr tests", "-keyout", "ca.key", "-out", "ca.pem"]
        request = ["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"]
        signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names.name]
        for arguments in (
            ["req", *curve, *authority],
            ["req", *curve, *request],
            ["x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing],
        ):
            subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=START_SECONDS)
        return cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")


def make_node_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a new key by which a SuperNode proves who it is: private and public, as OpenSSH has them."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    private, public = folder / name, folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    private.chmod(0o600)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    return private, public


class Run:
    """An app that is run: `flwr run --stream`."""

    def __init__(self, deployment: Deployment, app: Path, config: dict[str, Any]) -> None:
        self._deployment = deployment
        self._log = deployment.folder / "logs" / f"run-{app.name}.log"
        given = " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())
        self._process = deployment.spawn(
            self._log, "flwr", "run", str(app), SUPERLINK, "--stream", *(["--run-config", given] if given else [])
        )

    @property
    def log(self) -> str:
        """What Flower has printed so far, the ServerApp's own output included."""
        return self._log.read_text(errors="replace")

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float = RUN_SECONDS) -> str:
        """Return what was printed; fail, with all logs, where the run does."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        failed = code != 0 or "Exit Code:" in self.log
        assert not failed, (
            f"the run {'ended with ' + str(code) if code is not None else 'hangs'}\n{self._deployment.logs()}"
        )
        return self.log


class SuperNode:
    """A SuperNode, and with process isolation the SuperExec that starts its ClientApps."""

    def __init__(self, partition: int, log: Path, processes: list[subprocess.Popen[bytes]]) -> None:
        self.partition = partition
        self._log = log
        self.processes = processes

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait(self) -> int:
        """Return its exit code once it has ended by itself."""
        return self.processes[0].wait(START_SECONDS)

    def kill(self) -> None:
        """Kill it in whatever it does, with all its descendants: what a power cut looks like from outside."""
        _signal(_trees(self.processes), signal.SIGKILL)
        for process in self.processes:
            process.wait()


class Deployment:
    """A SuperLink with SuperNodes; ends them, and whatever they started, on leaving the `with`.

    Attributes:
        folder: Logs, keys, Flower's home. Processes of the deployment have it as their working directory.
        nodes: The SuperNodes, in the order in which they were added.
    """

    def __init__(self, folder: Path, *, nodes: int = 3, is_secure: bool = False, isolation: str = "subprocess") -> None:
        """Remember what to start.

        Args:
            folder: Of its own; created.
            nodes: SuperNodes to begin with; node k has partition-id k.
            is_secure: With TLS, and with SuperNodes that must prove who they are.
            isolation: "subprocess": SuperLink and SuperNodes start the SuperExecs themselves; "process": we do.
        """
        self.folder = folder
        self._home = folder / "flwr-home"
        self._runtime = folder / "runtime"
        self.nodes: list[SuperNode] = []
        self._nodes_at_first = nodes
        self._is_secure = is_secure
        self._isolation = isolation
        self._port = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._certificates: Certificates | None = None

    def __enter__(self) -> Deployment:
        if FLOWER < FIRST_FLOWER:
            pytest.skip(f"needs the command lines of flwr {'.'.join(map(str, FIRST_FLOWER))}")
        (self.folder / "logs").mkdir(parents=True)
        self._home.mkdir()
        self._runtime.mkdir(mode=0o700)
        try:
            self._start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _start(self) -> None:
        self._port = free_port()
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--isolation", self._isolation]
        connection = f'[superlink]\ndefault = "{SUPERLINK}"\n\n[superlink.{SUPERLINK}]\naddress = "{self.address}"\n'
        if self._is_secure:
            self._certificates = files = Certificates.make(self.folder / "certificates")
            options += ["--ssl-ca-certfile", str(files.authority), "--ssl-certfile", str(files.certificate)]
            options += ["--ssl-keyfile", str(files.key), "--enable-supernode-auth"]
            connection += f'root-certificates = "{files.authority}"\n'
        else:
            options.append("--insecure")
            connection += "insecure = true\n"
        (self._home / "config.toml").write_text(connection)
        superlink = self.spawn(self.folder / "logs" / "superlink.log", "flower-superlink", *options)
        self._wait_for_port(self._port, superlink)
        if self._isolation == "process":
            trust = ["--root-certificates", str(self._certificates.authority)] if self._certificates else ["--insecure"]
            self._start_superexec("superlink", self._port, trust)
        for partition in range(self._nodes_at_first):
            self.add_node(partition)

    @property
    def address(self) -> str:
        """Of the SuperLink: host:port."""
        return f"127.0.0.1:{self._port}"

    def cipher(self) -> str:
        """Return what the SuperLink encrypts with. Raises ssl.SSLError unless the authority signed its certificate."""
        assert self._certificates is not None
        context = ssl.create_default_context(cafile=str(self._certificates.authority))
        with (
            socket.create_connection(("127.0.0.1", self._port), START_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            used = encrypted.cipher()
        assert used is not None
        return used[0]

    def add_node(self, partition: int, *, is_registered: bool = True) -> SuperNode:
        """Start one more SuperNode; where they must prove who they are, with a key of its own that is made known."""
        name, port = f"supernode-{partition}-{len(self.nodes)}", free_port()
        config = f"partition-id={partition} num-partitions={self._nodes_at_first}"
        options = ["--superlink", self.address, "--host", "127.0.0.1", "--port", str(port)]
        options += ["--isolation", self._isolation, "--node-config", config]
        if self._certificates is not None:
            private, public = make_node_key(self.folder / "certificates", name)
            if is_registered:
                self.flwr("supernode", "register", str(public), SUPERLINK)
            options += ["--root-certificates", str(self._certificates.authority)]
            options += ["--auth-supernode-private-key", str(private)]
        else:
            options.append("--insecure")
        log = self.folder / "logs" / f"{name}.log"
        started = [self.spawn(log, "flower-supernode", *options)]
        if self._isolation == "process":
            started.append(self._start_superexec(name, port, ["--insecure"]))  # SuperNode and SuperExec share a machine
        self.nodes.append(SuperNode(partition, log, started))
        return self.nodes[-1]

    def end_nodes(self) -> None:
        """End all SuperNodes as their owners would, and what they started; but no agent, which must see that itself."""
        started = [process for node in self.nodes for process in node.processes]
        _end(_trees(started))
        for process in started:
            process.wait()

    def run(self, app: Path, **config: Any) -> Run:
        """Start an app with some of its configuration changed."""
        return Run(self, app, config)

    def flwr(self, *arguments: str) -> str:
        """Return what a command of `flwr` prints; fail where it does."""
        result = subprocess.run(
            [PROGRAMS / "flwr", *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"flwr {' '.join(arguments)}: {result.stdout}{result.stderr}\n{self.logs()}"
        return result.stdout

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the deployment's living processes, orphans included, whose command line has `name` in it."""
        return [process for process in processes_of(self.folder) if name in command(process)]

    def outlasting(self, name: str = "") -> list[str]:
        """Return the command lines of such processes that do not end by themselves in a while."""
        deadline = time.monotonic() + GRACE_SECONDS
        while (found := self.processes(name)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [command(process) for process in found]

    def logs(self) -> str:
        """Return the end of every log, for a failure to show."""
        files = sorted((self.folder / "logs").glob("*.log"), key=lambda file: file.stat().st_mtime)
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-LOG_CHARACTERS:]}" for file in files)

    def end(self) -> None:
        """End all processes, by pid. Does nothing the second time."""
        _end(processes_of(self.folder))
        for process in self._processes:
            process.wait(START_SECONDS)
        self._processes.clear()

    def spawn(self, log: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program that belongs to the deployment, and write what it prints to a file."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [PROGRAMS / program, *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        path = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"
        return {
            **os.environ,
            **ENVIRONMENT,
            MARK: str(self.folder),
            "FLWR_HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(self._runtime),  # where resident agents have their sockets
            "PATH": path,
        }

    def _start_superexec(self, name: str, port: int, trust: list[str]) -> subprocess.Popen[bytes]:
        log = self.folder / "logs" / f"superexec-{name}.log"
        return self.spawn(log, "flower-superexec", "--runtime-api-address", f"127.0.0.1:{port}", *trust)

    def _wait_for_port(self, port: int, process: subprocess.Popen[bytes]) -> None:
        def is_open() -> bool:
            assert process.poll() is None, f"ended with {process.returncode}\n{self.logs()}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(is_open, START_SECONDS, f"an answer on port {port}")


def command(process: psutil.Process) -> str:
    """Return a process's command line, "" where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the living processes that carry the mark of the deployment in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def _trees(processes: Iterable[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            top = psutil.Process(process.pid)
            found += [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def _end(processes: list[psutil.Process]) -> None:
    _signal(processes, signal.SIGTERM)
    _signal(psutil.wait_procs(processes, GRACE_SECONDS)[1], signal.SIGKILL)


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
