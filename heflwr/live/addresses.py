"""Where to listen and to connect, as people write it: HOST:PORT; and where that may be without keys."""

from __future__ import annotations

import ipaddress


def endpoint(address: str) -> str:
    """Return HOST:PORT as ZeroMQ writes it; port 0 is any that is free.

    Raises:
        ValueError: It is something else.
    """
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"an address is HOST:PORT, such as 127.0.0.1:7100 or [::1]:7100, got {address!r}")
    return f"tcp://{host}:{port if int(port) else '*'}"


def check_without_keys(address: str) -> None:
    """Raise ValueError for an address that other machines can reach: there, connections need keys."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(
            f"without keys a connection stays on this machine, and {address} does not; make keys with `heflwr keys new "
            "FOLDER` on both sides, and give --keys FOLDER (keys=)"
        )
