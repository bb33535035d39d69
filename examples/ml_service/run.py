"""Two services, load and a real Prometheus, asked before and after a drift: `python run.py --out out/service`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from processes import START_SECONDS, Processes, StartError
from questions import KL_DRIFT, QUESTIONS, TARGETS_UP, ask

HERE = Path(__file__).parent
SCRAPE = "500ms"

LEAST_RISE = 3.0
"""Of the drift in the last inputs; below, something is wrong with the example."""

SERVICES = {"threads": 1, "workers": 2}
"""By name, how many processes serve: one of waitress, and two of gunicorn."""

JOBS = ("ml_service", "heflwr")
"""What is scraped of a service: the application, and the monitor of its processes. The label `service` joins them."""

READY = (r"process and machine on http://(\S+)", r"serving on http://(\S+)")

HOST = "127.0.0.1"

Ports = dict[str, tuple[int, int]]
"""By service, that of the application and that of the monitor."""

Answers = dict[str, dict[str, float]]
"""By query, a value a service."""


def main() -> int:
    """Bring everything up, load it, ask, take everything down; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/service"), help="folder for all that is written")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load (default: 20)")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second (default: 60)")
    options = parser.parse_args()
    if shutil.which("prometheus") is None:
        print("this needs prometheus: apt-get install prometheus", file=sys.stderr)
        return 1
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _leave)
    try:
        with Processes(options.out / "logs") as processes:
            ports = _free_ports()
            _start_prometheus(processes, options.out, ports)
            _start_services(processes, ports)
            prometheus = _scraping(processes)
            before, after = _loaded([f"http://{HOST}:{serving}" for serving, _ in ports.values()], prometheus, options)
    except (StartError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_table(before, after))
    print("everything has ended")
    for service, value in after[KL_DRIFT.query].items():
        if value < LEAST_RISE * before[KL_DRIFT.query].get(service, value):
            print(f"{service}: the inputs drifted, and it was not seen", file=sys.stderr)
            return 1
    return 0


def _free_ports() -> Ports:
    """Return ports that nobody has: Prometheus, which looks for targets each five seconds, has them from the start."""
    with ExitStack() as held:
        ports = [held.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(2 * len(SERVICES))]
    return dict(zip(SERVICES, zip(ports[::2], ports[1::2], strict=True), strict=True))


def _start_services(processes: Processes, ports: Ports) -> None:
    """Start them, and return when they serve."""
    for name, workers in SERVICES.items():
        serving, monitor = ports[name]
        options = ["--host", HOST, "--port", serving, "--monitor-port", monitor, "--workers", workers]
        processes.start(name, sys.executable, HERE / "serving.py", *map(str, options))
    for name, workers in SERVICES.items():
        for pattern in READY:
            address = processes.wait(name, pattern)[1]
        print(f"{name}: http://{address}, {workers} process{'es' if workers > 1 else ''}", flush=True)


def _start_prometheus(processes: Processes, out: Path, ports: Ports) -> None:
    """Start it; it finds that the targets do not answer yet."""
    jobs = [
        {
            "job_name": job,
            "static_configs": [
                {"targets": [f"{HOST}:{found[place]}"], "labels": {"service": name}} for name, found in ports.items()
            ],
        }
        for place, job in enumerate(JOBS)
    ]
    configuration = {"global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE}, "scrape_configs": jobs}
    config, data = out / "prometheus.yml", out / "prometheus"
    config.write_text(json.dumps(configuration, indent=2))  # JSON is YAML
    shutil.rmtree(data, ignore_errors=True)  # of an earlier run
    command = [f"--config.file={config}", f"--storage.tsdb.path={data}", "--web.listen-address=127.0.0.1:0"]
    processes.start("prometheus", "prometheus", *command)


def _scraping(processes: Processes) -> str:
    """Return Prometheus' URL when it has scraped all targets."""
    listening = processes.wait("prometheus", r'"Listening on" address=(\S+)')
    url, expected = f"http://{listening[1]}", dict.fromkeys(SERVICES, float(len(JOBS)))
    deadline = time.monotonic() + START_SECONDS
    while not _is_scraping(url, expected):
        if time.monotonic() > deadline:
            raise StartError(f"prometheus does not reach the services, see {url}/targets")
        time.sleep(0.2)
    print(f"prometheus: {url}", flush=True)
    return url


def _is_scraping(prometheus: str, targets: dict[str, float]) -> bool:
    with suppress(OSError):  # it listens before it answers
        return ask(prometheus, TARGETS_UP) == targets
    return False


def _loaded(urls: list[str], prometheus: str, options: argparse.Namespace) -> tuple[Answers, Answers]:
    """Return the answers at the last moment before the drift, and at the end."""
    command = [sys.executable, str(HERE / "load.py"), *urls, "--seconds", str(options.seconds)]
    command += ["--rate", str(options.rate)]
    answers: list[Answers] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        try:
            for line in load.stdout:
                answers.append({question.query: ask(prometheus, question) for question in QUESTIONS})
                print(line, end="", flush=True)
        except BaseException:
            load.terminate()
            raise
    if load.returncode or len(answers) != 2:
        raise subprocess.CalledProcessError(load.returncode, command)
    return answers[0], answers[1]


def _table(before: Answers, after: Answers) -> str:
    """Return the questions with their queries, and a line a service: value before the drift and after."""
    lines = []
    for question in QUESTIONS:
        lines += ["", question.what, f"  {question.query}"]
        for service in sorted(before[question.query].keys() | after[question.query].keys()):
            values = [answers[question.query].get(service) for answers in (before, after)]
            shown = ["-" if value is None else f"{value:.3g}" for value in values]
            lines.append(f"  {service or 'all':>8}  {shown[0]:>8} -> {shown[1]:>8}")
    return "\n".join([*lines, ""])


def _leave(number: int, frame: FrameType | None) -> None:
    """End as if we had come to the end: everything that was started is taken down on the way out."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)  # an impatient second Ctrl-C must not stop that half-way
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
