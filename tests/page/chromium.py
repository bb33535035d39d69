"""A real browser on a real collector: Debian's Chromium, driven by Playwright, looked over by axe-core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from programs import need
from waiting import wait_for

PATIENCE_MS = 20_000


@contextmanager
def launched() -> Iterator[Any]:
    """Yield a browser without a window."""
    from playwright.sync_api import sync_playwright

    # Chromium cannot lock itself up as root, and /dev/shm is small in containers.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def until(page: Any, expression: str) -> None:
    """Wait until a JavaScript expression is true in the page; Playwright's own way needs a page that allows eval."""
    wait_for(lambda: page.evaluate(expression), what=expression)


class Complaints:
    """What the page's console said that no page should: errors, warnings, exceptions, refused files."""

    def __init__(self, page: Any) -> None:
        self.found: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))

    def _console(self, message: Any) -> None:
        text = f"{message.type}: {message.text} {message.location.get('url', '')}"
        # A browser reports every 503; that one only says that too many pages listen, and is part of the contract.
        is_full = "503" in text and text.endswith("/api/v1/events")
        if message.type in ("error", "warning") and not is_full:
            self.found.append(text)
