"""A PostgreSQL server of one's own: a fresh cluster in a temporary directory, reached by a socket there."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import programs
from waiting import wait_for

SERVER_USER = "postgres"
"""PostgreSQL does not run as root; Debian's package brings this user."""


def need_server() -> Path:
    """Return the directory of the server's programs; skip without, or fail under CI=true."""
    found = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), None)
    if found is None:
        programs.go_without("this test runs a PostgreSQL server: apt-get install postgresql")
    return Path(found).resolve().parent


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server; give the address of its database."""
    bin = need_server()
    user = SERVER_USER if os.geteuid() == 0 else None
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    home = Path(tempfile.mkdtemp(prefix="heflwr-postgres-", dir="/tmp"))  # a socket's path has 107 characters at most
    if user is not None:
        shutil.chown(home, user)
    try:
        subprocess.run(
            [bin / "initdb", "-D", home / "data", "-A", "trust", "-U", name, "--no-sync", "-E", "UTF8", "--locale=C"],
            check=True, capture_output=True, user=user, cwd=home, env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )  # fmt: skip
        with subprocess.Popen(
            [bin / "postgres", "-D", home / "data", "-k", home, "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=home, env={"LC_ALL": "C"},
        ) as process:  # fmt: skip
            try:
                wait_for(lambda: is_ready(bin, home) or process.poll() is not None)
                assert process.poll() is None, "the server has ended"
                yield f"postgresql://{name}@/postgres?host={home}"
            finally:
                process.send_signal(signal.SIGINT)  # fast shutdown
                process.wait(30)
    finally:
        shutil.rmtree(home)


def is_ready(bin: Path, home: Path) -> bool:
    return subprocess.run([bin / "pg_isready", "-h", home], capture_output=True).returncode == 0
