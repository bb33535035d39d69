"""The collector's page: static files that read the collector's API. It holds no data and needs no token itself."""

from __future__ import annotations

from importlib import resources

from flask import Blueprint, Flask, Response, send_from_directory

NAME = "page"
"""The blueprint's name: `request.blueprint == NAME` tells a request for the page from one for data."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""The page runs its own files and talks to its own collector; a browser asks each time whether a file has changed."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
"""Named here: what the machine's own tables say of .js differs, and a browser runs a module of no other type."""


def add_page(app: Flask) -> None:
    """Let `app` serve the page at / and its files under /static/."""
    files = str(resources.files(__name__) / "static")
    page = Blueprint(NAME, __name__)

    def static(path: str) -> Response:
        suffix = path[path.rfind(".") :]
        return send_from_directory(files, path, mimetype=_TYPES.get(suffix, "text/plain"))

    def index() -> Response:
        return static("index.html")

    def secured(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    page.add_url_rule("/", view_func=index)
    page.add_url_rule("/static/<path:path>", view_func=static)
    page.after_request(secured)
    app.register_blueprint(page)
