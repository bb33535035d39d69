"""Measure what heflwr.monitor.wsgi adds to a request, in one run of a minute: `python -m benchmarks.wsgi`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from heflwr.monitor.wsgi import Middleware

REQUESTS = 2000
ROUNDS = 15
RESIDENT_MIB = (0, 1024)
"""What the process holds besides: would reading its peak take longer?"""

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}


def listed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def streamed(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello"


def main() -> None:
    """Print a table of medians: microseconds a request takes, and what is added."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wsgi", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds; figures mean nothing")
    options = parser.parse_args()
    requests, rounds, sizes = (100, 1, (0,)) if options.smoke else (REQUESTS, ROUNDS, RESIDENT_MIB)
    print(
        "| response | resident | bare, us | CPU and latency add, us | with memory add, us | and a shared file add, us |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for mebibytes in sizes:
            ballast = bytearray(b"x") * (mebibytes * 2**20)
            for application in (listed, streamed):
                candidates: list[Any] = [
                    application,
                    Middleware(application, memory=False),
                    Middleware(application),
                    Middleware(application, directory=directory),
                ]
                bare, *measured = _medians([_requests(each, requests) for each in candidates], rounds)
                added = " | ".join(f"{1e6 * (each - bare) / requests:.1f}" for each in measured)
                size = f"{mebibytes} MiB more" if ballast else "little"
                print(f"| {application.__name__} | {size} | {1e6 * bare / requests:.2f} | {added} |", flush=True)
    full = Middleware(listed, route=lambda environ: environ["PATH_INFO"])
    for number in range(255):
        full({**ENVIRON, "PATH_INFO": f"/{number}"}, _start)
    (page,) = _medians([full.exposition], rounds)
    print(f"\na page of 255 series ({len(full.exposition()) / 1e6:.2f} MB): {1e3 * page:.1f} ms")


def _requests(application: Any, requests: int) -> Callable[[], None]:
    def serve() -> None:
        for _ in range(requests):
            body = application(ENVIRON, _start)
            for _ in body:
                pass
            if (close := getattr(body, "close", None)) is not None:
                close()

    return serve


def _start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> Callable[[bytes], object]:
    return len


def _medians(candidates: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median seconds of each, taken in turn: what else the machine does meets all of them."""
    taken: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, seconds in zip(candidates, taken, strict=True):
            begun = time.perf_counter()
            candidate()
            seconds.append(time.perf_counter() - begun)
    return [statistics.median(seconds) for seconds in taken]


if __name__ == "__main__":
    main()
