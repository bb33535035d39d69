"""Who may do what: tokens, sessions of the page, how often somebody may come, and which web pages may ask."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from werkzeug.wrappers import Request

from heflwr.collector.limiter import Limiter
from heflwr.collector.records import Refusal
from heflwr.collector.store import Store
from heflwr.collector.store.tokens import digest, tokens

COOKIE = "heflwr_session"
SESSION_SECONDS = 12 * 3600
SESSIONS_MAX = 1_000

KNOWN_SECONDS = 1.0
"""How old the list of tokens may be: a revoked one works that long."""

FAILURES_PER_SECOND = 5.0
FAILURES_AT_ONCE = 50.0
"""Wrong tokens from one address; beyond, 429 instead of 401."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_OPEN = ("/healthz", "/openapi.yaml", "/api/v1/login")
"""These answer anybody: they hold no data."""

_SENDING = ("/simple_log", "/log", "/write", "/api/v2/write", "/ping", "/query")
"""What a client's token is for, besides POST to /api/v1/..."""

_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do.

    Attributes:
        may: "all", "write", "read" or "nothing".
        name: The identifier that a client's token writes, "" otherwise.
        digest: Of the token that it came with, "" where none is asked for.
    """

    may: str
    name: str = ""
    digest: str = ""


class Guard:
    """Looks at every request before anything else does.

    Args:
        store: Where the tokens are.
        token: One that may do everything; None for none. Where there is neither this nor any other, none is asked for.
        rate: Requests a second that one token (or one address without) may make; 0 for no limit.
        is_local: Only this machine can connect. While no token is asked for, requests must then name it: a web page can
            make a browser on this machine connect, under a name of its own.
    """

    def __init__(self, store: Store, token: str | None, rate: float, is_local: bool = False) -> None:
        self._is_local = is_local
        self._store = store
        self._master = None if token is None else token.encode("utf-8", "replace")
        self._limiter = Limiter(rate, 2 * rate) if rate else None
        self._failures = Limiter(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
        self._lock = threading.Lock()
        self._known: dict[str, Access] = {}
        self._known_at = self._asked_at = float("-inf")
        self._sessions: OrderedDict[str, tuple[Access, float]] = OrderedDict()
        self._has_asked = False  # for a token: revoking the last one opens nothing to anybody

    @property
    def is_current(self) -> bool:
        """Whether admit() will not read the tokens for some time to come."""
        return time.monotonic() - self._known_at < 0.9 * KNOWN_SECONDS

    def asks(self) -> bool:
        """Return True when it is time to renew() what is current, to one caller a time; for one thread."""
        if not self._is_due() or self._asked_at == self._known_at:
            return False
        self._asked_at = self._known_at
        return True

    def renew(self) -> None:
        """Read the tokens unless that was a moment ago; raises StoreFailed."""
        if self._is_due():
            self._read()

    def _is_due(self) -> bool:
        return time.monotonic() - self._known_at > KNOWN_SECONDS / 2

    def admit(self, request: Request, is_page: bool = False) -> Access:
        """Return what this request may do, or raise a Refusal: 401, 403 or 429."""
        access = Access("all") if is_page or request.path in _OPEN else self._access(request)
        if self._limiter is not None:
            wait = self._limiter.allow(access.digest or request.remote_addr or "")
            if wait:
                raise Refusal(429, "rate", "too many requests; come again later", wait)
        if request.method not in _SAFE and "Origin" in request.headers:
            _check_origin(request)
        may = access.may
        is_sending = request.path in _SENDING or request.method not in _SAFE
        if may == "nothing":
            raise self._unknown(request, reason="token" if is_sending else "reader")
        if (may == "write" and not is_sending) or (may == "read" and is_sending):
            raise Refusal(403, "token", f"this token may only {may}")
        return access

    def may_write(self, access: Access, identifier: str) -> None:
        """Raise a Refusal unless a request with this access may write for a client."""
        if access.may == "write" and access.name != identifier:
            raise Refusal(403, "identifier", f"this token may only write {access.name!r}, not {identifier[:256]!r}")

    def login(self, request: Request, token: str) -> str | None:
        """Return a session for a token that may read, None where none is needed.

        Raises:
            Refusal: It may not.
        """
        if self._is_unguarded():
            return None
        access = self._of_token(token)
        if access.may not in ("all", "read"):
            raise self._unknown(request, 403)
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[digest(session)] = (access, time.monotonic() + SESSION_SECONDS)
            while len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return session

    def logout(self, request: Request) -> None:
        """Forget the session of this request."""
        with self._lock:
            self._sessions.pop(digest(request.cookies.get(COOKIE, "")), None)

    def _access(self, request: Request) -> Access:
        if self._is_unguarded():
            if self._is_local and _name(request.host) not in LOOPBACK:
                raise Refusal(403, "host", f"call this collector {LOOPBACK[0]}, or let it ask for a token")
            return Access("all")
        token = _token(request)
        if token is not None:
            return self._of_token(token)
        return self._of_session(request.cookies.get(COOKIE, ""))

    def _is_unguarded(self) -> bool:
        return self._master is None and not self._tokens() and not self._has_asked

    def _of_token(self, token: str) -> Access:
        given = token.encode("utf-8", "replace")
        if self._master is not None and hmac.compare_digest(given, self._master):
            return Access("all", digest=digest(token))
        return self._tokens().get(digest(token), Access("nothing"))

    def _of_session(self, session: str) -> Access:
        if not session:
            return Access("nothing")
        with self._lock:
            access, until = self._sessions.get(digest(session), (Access("nothing"), 0.0))
        if time.monotonic() > until:
            return Access("nothing")
        is_current = access.may == "all" or access.digest in self._tokens()
        return Access("read", digest=access.digest) if is_current else Access("nothing")

    def _tokens(self) -> dict[str, Access]:
        if time.monotonic() - self._known_at > KNOWN_SECONDS:
            self._read()
        return self._known

    def _read(self) -> None:
        with self._store.reading() as reader:
            found = tokens(reader)
        self._known = {
            token.digest: Access(token.may, token.name if token.may == "write" else "", token.digest) for token in found
        }
        self._has_asked = self._has_asked or bool(found)
        self._known_at = time.monotonic()

    def _unknown(self, request: Request, status: int = 401, reason: str = "reader") -> Refusal:
        wait = self._failures.allow(request.remote_addr or "")
        if wait:
            return Refusal(429, "rate", "too many wrong tokens; come again later", wait)
        if "Authorization" in request.headers:
            return Refusal(status, reason, "this token is not known here: it is mistyped, or was revoked")
        return Refusal(
            status, reason, "this collector asks for its token: send the header Authorization: Bearer ... or log in"
        )


def _name(host: str) -> str:
    """Return a Host header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _check_origin(request: Request) -> None:
    """Only the collector's own page may do anything but read; any page that a browser shows could try."""
    if request.path != "/api/v1/login" or request.headers["Origin"].partition("://")[2] != request.host:
        raise Refusal(403, "origin", "web pages cannot post to a collector")


def _token(request: Request) -> str | None:
    """Return the token of this request: a bearer's, or in InfluxDB's ways; None where there is no such header."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer" or (scheme.lower() == "token" and request.path in _SENDING):
        return rest.strip()
    if scheme.lower() == "basic" and request.path in _SENDING:
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
