"""The services of compose.yaml without Docker: each in a sandbox of bubblewrap, all on a loopback of their own.

A sandbox is what the compose file asks for, as far as the kernel gives it to anybody: the fixed user, no capability, no
new privileges, a root that cannot be written, the volumes and nothing else of /var, /run, /etc and /tmp, a process
namespace with an init. Every service's name is 127.0.0.1 in /etc/hosts; ports are those of the file, since nobody else
is in the network namespace. Images are not built: their programs are those of this Python and of Debian.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from dockerfile import environment, stages
from programs import go_without, need
from waiting import wait_for

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
ROOT = FOLDER.parents[1]

PROGRAMS = Path(sys.executable).parent

ENTRYPOINTS = {"prom/prometheus": "prometheus", "prom/alertmanager": "prometheus-alertmanager"}
"""What images of others run, as Debian calls it."""

USER = "10001"
GRACE_SECONDS = 15.0
START_SECONDS = 120.0
RUN_SECONDS = 180.0
"""Far more than it takes, even on a machine that is busy with other things."""

PAUSE_SECONDS = 1.0
"""Between two healthchecks of a service that starts, as in the file."""

OWN = ("proc", "dev", "etc", "run", "tmp", "var", "srv", "mnt", "media", "boot", "opt")
"""Folders of the machine's root that a service does not see."""

ETC = ("passwd", "group", "ld.so.cache", "nsswitch.conf", "ssl", "alternatives")

FASTER = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Besides what compose.yaml sets: Flower asks for work ten times a second, and two cores have many services."""


def compose() -> dict[str, Any]:
    """Return compose.yaml with its merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return loaded


_NETWORK = ("--unshare-user", "--uid", "0", "--gid", "0", "--unshare-net", "--die-with-parent", "--dev-bind", "/", "/")

_ASK = """\
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.stdout.write(opener.open(request, timeout=10).read().decode())
"""


class Containers:
    """Services that were started; on leaving the `with` all of them end."""

    def __init__(self, folder: Path) -> None:
        """Remember.

        Args:
            folder: Where volumes and logs go, and in `secrets` lies what prepare.py makes.
        """
        self._folder = folder
        self._file = compose()
        self._images = stages(FOLDER / "Dockerfile")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Containers:
        names = " ".join([*self._file["services"], "localhost"])
        (self._folder / "hosts").write_text(f"127.0.0.1 {names}\n")
        self._network = subprocess.Popen(
            [need("bwrap"), *_NETWORK, "sh", "-c", "echo $$; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout is not None
        pid = self._network.stdout.readline().decode().strip()
        if not pid:
            self._network.communicate()
            go_without("this test runs sandboxes: allow user namespaces, or run as root")
        self._inside = ["nsenter", f"--target={pid}", "--user", "--net", "--preserve-credentials", "--"]
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)
        self._network.communicate()

    def start(self, *names: str) -> None:
        """Start services, and wait until the healthcheck of each says that it is well."""
        for name in names:
            with self.log(name).open("ab") as log:
                words = self._sandbox(name, self._words(name))
                self._running[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for name in names:
            if "test" in self._file["services"][name]["healthcheck"]:
                wait_for(
                    lambda name=name: self._is_over(name) or self.is_healthy(name), START_SECONDS, f"a healthy {name}"
                )
            assert not self._is_over(name), self.told(name)

    def run(self, name: str, *more: str) -> str:
        """Run a service that ends by itself; return what it printed."""
        done = subprocess.run(
            self._sandbox(name, self._words(name, *more)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + "".join(self.told(other) for other in self._running)
        return done.stdout

    def stop(self, name: str) -> int:
        """End a service as Docker does, by a SIGTERM to what it runs; return its exit code."""
        sandbox = self._running.pop(name)
        if sandbox.poll() is None:
            os.kill(self._main(sandbox.pid), signal.SIGTERM)
        try:
            return sandbox.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            sandbox.kill()
            sandbox.wait()
            raise

    def is_healthy(self, name: str) -> bool:
        """Return what the service's healthcheck says."""
        kind, *words = self._file["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        is_well = self.execute(name, *words).returncode == 0
        if not is_well:
            time.sleep(PAUSE_SECONDS)
        return is_well

    def execute(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command where a service runs: with its user, volumes and environment."""
        return subprocess.run(self._sandbox(name, list(words)), capture_output=True, text=True, check=False)

    def ask(self, url: str, token: str = "") -> Any:
        """Return the JSON of a GET from where the services are."""
        return json.loads(self._get(url, token, check=True))

    def metrics(self, url: str) -> str:
        """Return what an endpoint exposes, "" where nobody listens now."""
        found = self._get(url, "", check=False)
        if not found:
            time.sleep(PAUSE_SECONDS)
        return found

    def _get(self, url: str, token: str, *, check: bool) -> str:
        words = [*self._inside, sys.executable, "-I", "-S", "-c", _ASK, url, token]
        errors = None if check else subprocess.DEVNULL
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=errors, text=True, check=check).stdout

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def told(self, name: str) -> str:
        return f"--- {name}\n{self.log(name).read_text(errors='replace')[-3000:]}\n"

    def _is_over(self, name: str) -> bool:
        return self._running[name].poll() is not None

    def _words(self, name: str, *more: str) -> list[str]:
        service = self._file["services"][name]
        image = service["image"].partition(":")[0]
        entrypoint = [need(ENTRYPOINTS[image])] if image in ENTRYPOINTS else []
        command = [str(word).replace("$$", "$") for word in service["command"]]
        return [*entrypoint, *command[:-1], " ".join([command[-1], *more])]

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        target = service.get("build", {}).get("target")
        found = environment(self._images, target) if target else {}
        for file in service.get("env_file", []):
            found |= dict(line.split("=", 1) for line in self._source(f"./{file}").read_text().splitlines())
        found |= service.get("environment", {})
        return {**found, **FASTER, "PATH": f"{PROGRAMS}:{FOLDER}:/usr/sbin:/usr/bin:/bin"}

    def _source(self, text: str) -> Path:
        """Return where a bind mount's source is; what prepare.py makes is in our folder."""
        if text.startswith("./secrets/"):
            return self._folder / text
        return (FOLDER / text).resolve()

    def _mounts(self, service: dict[str, Any]) -> list[tuple[str, list[str]]]:
        """Return (where, arguments of bwrap), a mount each."""
        found = []
        for text in service.get("volumes", []):
            source, target, *mode = text.split(":")
            if source.startswith("."):
                path = self._source(source)
            else:
                path = self._folder / "volumes" / source
                path.mkdir(parents=True, exist_ok=True)
            found.append((target, ["--ro-bind" if mode == ["ro"] else "--bind", str(path), target]))
        for text in service.get("tmpfs", []):
            target = text.partition(":")[0]
            found.append((target, ["--tmpfs", target]))
        for config in service.get("configs", []):
            path = FOLDER / self._file["configs"][config["source"]]["file"]
            found.append((config["target"], ["--ro-bind", str(path), config["target"]]))
        for secret in service.get("secrets", []):
            path = self._source(f"./{self._file['secrets'][secret]['file']}")
            found.append((f"/run/secrets/{secret}", ["--ro-bind", str(path), f"/run/secrets/{secret}"]))
        return sorted(found, key=lambda mount: mount[0].count("/"))

    def _sandbox(self, name: str, words: list[str]) -> list[str]:
        service = self._file["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        user = service.get("user", f"{USER}:{USER}").split(":")
        options = ["--unshare-user", "--uid", user[0], "--gid", user[1], "--cap-drop", "ALL"]
        options += [
            "--unshare-pid",
            "--unshare-uts",
            "--unshare-ipc",
            "--hostname",
            name,
            "--die-with-parent",
            "--clearenv",
        ]
        for entry in sorted(Path("/").iterdir()):
            if entry.is_symlink():
                options += ["--symlink", os.readlink(entry), str(entry)]
            elif entry.is_dir() and entry.name not in OWN:
                options += ["--ro-bind", str(entry), str(entry)]
        options += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(self._folder / "hosts"), "/etc/hosts"]
        for file in ETC:
            options += ["--ro-bind-try", f"/etc/{file}", f"/etc/{file}"]
        for _, arguments in self._mounts(service):
            options += arguments
        for folder in (str(ROOT), sys.prefix, sys.base_prefix):  # last: they may be below /tmp
            options += ["--ro-bind", folder, folder]
        options += ["--remount-ro", "/"]
        for variable, value in self._environment(service).items():
            options += ["--setenv", variable, value]
        return [*self._inside, need("bwrap"), *options, "--chdir", "/", "--", *words]

    @staticmethod
    def _main(sandbox: int) -> int:
        """Return the process id of what a sandbox runs: the child of its init, which is bwrap's child."""
        pid = sandbox
        for _ in range(2):
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return pid
