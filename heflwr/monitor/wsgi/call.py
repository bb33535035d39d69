"""One request, from the call to the close() of what the application returned.

CPU time is that of the thread that runs the application's code, added up over the call, each step of the iteration and
close(): what the server does in between (waiting for a slow client, say) is not in it, and a server may change threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from heflwr.monitor.wsgi.books import Books
from heflwr.monitor.wsgi.routes import ALL, METHODS, OTHER, status_class
from heflwr.monitor.wsgi.table import TEXT_BYTES, Key, Observation

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_Result = TypeVar("_Result")

Route = Callable[["WSGIEnvironment"], str | None]
"""Names a request's route when the application begins to answer it; None for a request that has none."""


class Call:
    """A request in flight."""

    def __init__(self, books: Books, route: Route | None, environ: WSGIEnvironment) -> None:
        self.is_sent = False
        self._cpu_seconds = 0.0
        self._is_failed = False
        self._books = books
        self._route = route
        self._environ = environ
        self._method = environ.get("REQUEST_METHOD")
        self._status: str | None = None
        self._name: str | None = None
        self._is_over = False
        self._stay = books.enter()
        self._begun = time.monotonic()

    def starting(self, start_response: StartResponse) -> StartResponse:
        """Return a start_response() that notes the status and hands on everything as it is."""

        def started(
            status: str, headers: list[tuple[str, str]], *exc_info: Any, **named: Any
        ) -> Callable[[bytes], object]:
            if self._name is None:  # now, because Flask forgets the rule before it returns
                self._name = self._named()
            write = start_response(status, headers, *exc_info, **named)
            self._status = status  # not where that raised: the client has another one already

            def written(data: bytes) -> object:
                self.is_sent = self.is_sent or bool(data)
                return write(data)

            return written

        return started

    def run(self, step: Callable[..., _Result], *given: Any) -> _Result:
        """Run some of the application; its CPU time is the request's, and what it raises goes on."""
        begun = time.thread_time()
        try:
            return step(*given)
        except StopIteration:
            raise
        except BaseException:
            self._is_failed = True
            raise
        finally:
            self._cpu_seconds += time.thread_time() - begun

    def end(self) -> None:
        """Count the request, once."""
        if self._is_over:
            return
        self._is_over = True
        seconds = time.monotonic() - self._begun
        peak, rise = self._books.leave(self._stay)
        try:
            method = self._method if self._method in METHODS else OTHER
            status = status_class(self._status, is_failed=self._is_failed and not self.is_sent)
            key = Key(method, self._name or self._named(), status)
            self._books.add(key, Observation(seconds, self._cpu_seconds, peak, rise, self._is_failed))
        except Exception as error:  # whatever it was, the request goes on
            self._books.failed(error)

    def _named(self) -> str:
        if self._route is None:
            return ALL
        try:
            route = self._route(self._environ)
            if route is None:
                return OTHER
            return route.encode(errors="replace")[:TEXT_BYTES].decode(errors="ignore") or OTHER
        except Exception as error:  # the caller's function; the request is counted all the same
            self._books.failed(error)
            return OTHER


class Body:
    """What the application returned, handed on chunk by chunk."""

    def __init__(self, call: Call, result: Iterable[bytes]) -> None:
        self._call = call
        self._result = result
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:  # here and once: iter() of an iterator must not run the application again
            self._iterator = self._call.run(iter, self._result)
        chunk: bytes = self._call.run(next, self._iterator)
        if chunk:
            self._call.is_sent = True
        return chunk

    def close(self) -> None:
        """Close what the application returned, and end the request."""
        try:
            if (close := getattr(self._result, "close", None)) is not None:
                self._call.run(close)
        finally:
            self._call.end()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():
            self._call.end()  # a server, or a middleware outside, forgot to close it
