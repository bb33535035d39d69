"""Where to listen and to connect, as people write it: [http(s)://]HOST:PORT; where that may be without keys."""

from __future__ import annotations

import ipaddress
import re

_FORM = re.compile(r"(?:(?P<scheme>tcp|https?)://)?(?P<host>\[[^\]/]+\]|[^:/\[\]]+):(?P<port>[0-9]{1,5})/?")


def endpoint(address: str) -> str:
    """Return HOST:PORT as ZeroMQ writes it; port 0 is any that is free.

    Raises:
        ValueError: It is something else.
    """
    host, port = place(address)
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port or '*'}"


def place(address: str) -> tuple[str, int]:
    """Return host and port, IPv6 without brackets.

    Raises:
        ValueError: It is no address.
    """
    found = _FORM.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(
            f"an address is HOST:PORT, such as 127.0.0.1:7100 or [::1]:7100, or https://HOST:PORT, got {address!r}"
        )
    return found["host"].strip("[]"), int(found["port"])


def is_http(address: str) -> bool:
    """Return whether it is spoken to by HTTP."""
    return address.startswith(("http://", "https://"))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_without_keys(address: str) -> None:
    """Raise ValueError for an address that other machines can reach: there, connections need keys."""
    if not is_loopback(place(address)[0]):
        raise ValueError(
            f"without keys a connection stays on this machine, and {address} does not; make keys with `heflwr keys new "
            "FOLDER` on both sides, and give --keys FOLDER (keys=)"
        )
