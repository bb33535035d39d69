"""Middleware: measures every request of a WSGI application, and tells of it in its own page or as numbers."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from heflwr.monitor import arguments
from heflwr.monitor.errors import MonitorError
from heflwr.monitor.wsgi.books import Books
from heflwr.monitor.wsgi.call import Body, Call, Route
from heflwr.monitor.wsgi.figures import RequestFigures, merged
from heflwr.monitor.wsgi.slots import files

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from heflwr.exposition.endpoint import Answer
    from heflwr.exposition.text import Format

_SEVERAL = (
    "several processes serve this application (wsgi.multiprocess), and each would tell of its own requests only; "
    "give Middleware(directory=...), a directory that they share"
)

_ALONE = "{} did not take this process's figures (the log says why); put that right, and restart the service"


class Middleware:
    """A WSGI application that calls another one and measures what each request costs.

    Example:
        >>> def hello(environ, start_response):
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [b"hello"]
        >>> hello = Middleware(hello)
        >>> hello({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers: None)
        [b'hello']
        >>> [(each.method, each.status, each.seconds.count) for each in hello.stats()]
        [('GET', '2xx', 1)]
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        route: Route | None = None,
        metrics_path: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        memory: bool = True,
    ) -> None:
        """Remember what to do; the first request of a process opens what measuring takes.

        Args:
            application: What is measured.
            route: Names a request's route from its environ, when the application begins to answer; a few names in
                all. `flask_route` knows Flask's. Default: one name for all.
            metrics_path: Answer this path ("/metrics") with the figures, for Prometheus, instead of the application.
                Whoever reaches the application may read them.
            directory: Where processes that serve the same application keep their figures, each in a file that all
                read: a local directory that exists, one an application. Needed where a server forks workers.
            memory: Look at memory, too.

        Raises:
            TypeError: A value of another type.
            ValueError: A path without a slash, a directory that is not there, not writable, or another user's.
        """
        if not callable(application):
            raise TypeError(f"application must be a WSGI application, got {application!r}; give a function of two")
        if route is not None and not callable(route):
            raise TypeError(f"route must be a function of a request's environ, got {route!r}")
        if metrics_path is not None and not str(metrics_path).startswith("/"):
            raise ValueError(f"metrics_path must begin with a slash, got {metrics_path!r}")
        self._application = application
        self._route = route
        self._metrics_path = metrics_path
        self._directory = None if directory is None else _directory(directory)
        self._has_memory = arguments.boolean("memory", memory)
        self._lock = threading.RLock()
        self._books: Books | None = None
        self._is_one_of_several = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        books = self._books or self._begin()
        if environ.get("wsgi.multiprocess"):
            self._is_one_of_several = True
        if self._metrics_path is not None and environ.get("PATH_INFO") == self._metrics_path:
            return self._page(environ, start_response)
        call = Call(books, self._route, environ)
        try:
            result = call.run(self._application, environ, call.starting(start_response))
        except BaseException:
            call.end()
            raise
        if type(result) in (list, tuple) or _is_file(environ, result):
            call.end()  # nothing of the application is left to run, and servers treat these better than an iterator
            return result
        return Body(call, result)

    def stats(self) -> list[RequestFigures]:
        """Return what requests cost so far, those in flight not yet: of all processes that share the directory.

        Without a directory, of this process. Raises OSError where the directory cannot be read.
        """
        return merged((self._books or self._begin()).tables())

    def exposition(self) -> str:
        """Return the same in Prometheus' text format, to go with what else a page of metrics holds.

        Raises:
            MonitorError: Several processes serve the application, and their figures cannot be added up: there is no
                directory, or it did not take a file of this one's.
            OSError: The directory cannot be read.
        """
        from heflwr.exposition.text import Format

        return self._render(Format(is_openmetrics=False, is_compressed=False)).body.decode()

    def let_go(self) -> None:
        """Forget, in a forked child, what belongs to the parent. Called by the fork itself."""
        self._lock = threading.RLock()
        if self._books is not None:
            self._books.let_go()
            self._books = None

    def _begin(self) -> Books:
        _remember(self)
        with self._lock:
            if self._books is None:
                self._books = Books(self._directory, has_memory=self._has_memory)
            return self._books

    def _render(self, format: Format) -> Answer:
        from heflwr.exposition.text import render
        from heflwr.monitor.wsgi.families import families

        books = self._books or self._begin()
        if self._is_one_of_several and not books.is_shared:
            raise MonitorError(_SEVERAL if self._directory is None else _ALONE.format(self._directory))
        tables = list(books.tables())
        return render(families(merged(tables), sum(table.faults for table in tables)), format)

    def _page(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a scrape."""
        from http import HTTPStatus

        from heflwr.exposition.endpoint import Answer, Request
        from heflwr.exposition.text import format_for

        method = environ.get("REQUEST_METHOD", "")
        sent = {
            name: environ.get(f"HTTP_{name.upper().replace('-', '_')}", "") for name in ("accept", "accept-encoding")
        }
        try:
            if method in ("GET", "HEAD"):
                answer = self._render(format_for(Request(method, self._metrics_path or "", sent)))
            else:
                answer = Answer.text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET or HEAD", {"Allow": "GET, HEAD"})
        except (MonitorError, OSError) as error:
            answer = Answer.text(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            **answer.headers,
        }
        start_response(f"{answer.status.value} {answer.status.phrase}", list(headers.items()))
        return [b"" if method == "HEAD" else answer.body]


def _directory(value: str | os.PathLike[str]) -> Path:
    path = Path(value).absolute()
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"directory must exist and be writable, got {str(value)!r} ({path}); make it first")
    if foreign := [file for file in files(path) if not os.access(file, os.R_OK | os.W_OK)]:
        raise ValueError(f"directory must be one user's, got {str(value)!r} with {foreign[0].name}; remove that file")
    try:
        import fcntl  # noqa: F401 - slots need it, and say so here rather than in a request
    except ImportError:
        raise ValueError("directory needs file locks of Unix; serve with threads of one process here") from None
    return path


def _is_file(environ: WSGIEnvironment, result: object) -> bool:
    """Return True for the server's own file wrapper, which it may send without reading it."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(result, wrapper)


_known: weakref.WeakSet[Middleware] = weakref.WeakSet()

_is_watching_forks = False


def _remember(middleware: Middleware) -> None:
    global _is_watching_forks
    if not _is_watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_go_of_all)
    _is_watching_forks = True
    _known.add(middleware)


def _let_go_of_all() -> None:
    for middleware in tuple(_known):
        middleware.let_go()
