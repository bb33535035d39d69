"""Which channel an address names, ZeroMQ's or HTTP's, and that channel's two ends with the keys of a folder."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from heflwr.automon import codec
from heflwr.automon.transports.zeromq.dialer import Dialer
from heflwr.automon.transports.zeromq.listener import Listener
from heflwr.live import frames
from heflwr.live.addresses import check_without_keys, endpoint, is_http, is_loopback, place
from heflwr.live.errors import WrongKeys
from heflwr.live.keys import AUTHORITY, CERTIFICATE, CERTIFICATE_KEY, coordinators, own
from heflwr.live.longpoll.dialer import LongPollDialer
from heflwr.live.longpoll.listener import LongPollListener
from heflwr.live.longpoll.tokens import token_of

if TYPE_CHECKING:
    from heflwr.live.keys import Accepted

T = TypeVar("T")


def listener_at(
    address: str, keys: Path | None, accepted: Accepted | None, stranger: Callable[[str], str | None]
) -> Listener | LongPollListener:
    """Return what a coordinator listens with.

    Args:
        address: HOST:PORT, https://HOST:PORT, or http://HOST:PORT behind a proxy on this machine.
        keys: Folder of the coordinator's keys.
        accepted: Whose keys are taken; None: there are no keys.
        stranger: Looks again for a key that is not among these.

    Raises:
        ValueError: The address is none, or needs keys.
        WrongKeys: The folder of keys cannot be used.
    """
    endpoint(address)
    if keys is None:
        check_without_keys(address)
    if not is_http(address):
        return Listener(endpoint(address), frames.MOST_BYTES, None if keys is None else own(keys), stranger)

    def name_of(key: str) -> str | None:
        assert accepted is not None
        return accepted.name_of(key) or stranger(key)

    host, port = place(address)
    context = None
    if address.startswith("https://"):
        if keys is None:
            raise ValueError(
                f"{address} needs a folder with {CERTIFICATE} and {CERTIFICATE_KEY}: give --keys FOLDER (keys=)"
            )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _load(context.load_cert_chain, keys / CERTIFICATE, keys / CERTIFICATE_KEY)
    elif not is_loopback(host):
        raise ValueError(
            f"tokens travel encrypted: listen on https://, or on this machine behind a proxy, got {address!r}"
        )
    return LongPollListener(host, port, context, None if keys is None else name_of)


def dialer_to(address: str, keys: Path | None) -> Dialer | LongPollDialer:
    """Return what an agent connects with.

    Args:
        address: HOST:PORT, or https://HOST:PORT; http://HOST:PORT on this machine.
        keys: Folder of the agent's keys; None: only for a coordinator on this machine.

    Raises:
        ValueError: The address is none, or needs keys.
        WrongKeys: The folder of keys cannot be used.
    """
    endpoint(address)
    if keys is None:
        check_without_keys(address)
    if not is_http(address):
        pair, server = (None, None) if keys is None else (own(keys), coordinators(keys))
        return Dialer(endpoint(address), codec.MOST_BYTES, pair, server)
    host, port = place(address)
    context = None
    if address.startswith("https://"):
        if keys is not None and (keys / AUTHORITY).exists():
            context = _load(lambda path: ssl.create_default_context(cafile=path), keys / AUTHORITY)  # and nobody else
        else:
            context = ssl.create_default_context()
    elif not is_loopback(host):
        raise ValueError(f"a token travels encrypted: connect to https://, got {address!r}")
    return LongPollDialer(host, port, context, "" if keys is None else token_of(own(keys).secret))


def _load(load: Callable[..., T], *paths: Path) -> T:
    try:
        return load(*paths)
    except OSError as error:  # ssl.SSLError is one
        raise WrongKeys(f"cannot use {' and '.join(map(str, paths))}: {error}") from error
