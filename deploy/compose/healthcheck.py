#!/usr/bin/env python3
"""Exit with 0 if a server is well: `healthcheck.py http://HOST:PORT/PATH`, or grpc://HOST:PORT for one of Flower's."""

from __future__ import annotations

import sys
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0


def check(url: str) -> None:
    """Ask once. Raises OSError where the server does not say that it is well."""
    if url.startswith("grpc://"):
        _ask_grpc(urlsplit(url).netloc)
        return
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    opener.open(url, timeout=TIMEOUT_SECONDS).close()  # any status but 2xx is an HTTPError, which is an OSError


def _ask_grpc(address: str) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise OSError(error.code().name) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise OSError(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
