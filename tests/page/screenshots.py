"""Take the pictures of docs/: `python tests/page/screenshots.py docs` fills a collector and looks at its page."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import chromium
import generated
import servers
from PIL import Image

CLIENTS = 24
HOURS = 2.0
STALE, LOST = "edge-07", "edge-18"

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
PICTURES: dict[str, tuple[str, str, dict[str, int], str]] = {
    "fleet": ("light", "#/", DESKTOP, ".fleet .spark-line"),
    "fleet-dark": ("dark", "#/?sort=power&order=down", DESKTOP, ".fleet .spark-line"),
    "client": ("light", "#/client/edge-03", {"width": 1280, "height": 1020}, ".chart canvas"),
    "compare": ("dark", "#/compare?item=edge-03&item=edge-09", {"width": 1280, "height": 960}, ".chart canvas"),
    "functions": ("light", "#/functions", {"width": 1280, "height": 720}, ".chart canvas"),
    "phone": ("light", "#/", PHONE, ".fleet .spark-line"),
    "phone-client": ("dark", "#/client/edge-03", PHONE, ".chart canvas"),
}
"""Each picture: colours, where on the page, the window, what must have been drawn."""


def main(folder: Path) -> None:
    """Write docs/collector-*.png."""
    with tempfile.TemporaryDirectory() as temporary:
        database = Path(temporary) / "fleet.db"
        with servers.CollectorProcess(database) as collector, chromium.launched() as browser:
            fill(collector.url, database)
            for name, (scheme, place, viewport, drawn) in PICTURES.items():
                is_phone = viewport is PHONE
                context = browser.new_context(
                    viewport=viewport,
                    color_scheme=scheme,
                    device_scale_factor=2 if is_phone else 1.5,
                    is_mobile=is_phone,
                )
                page = context.new_page()
                page.goto(f"{collector.url}/{place}")
                page.wait_for_selector(drawn)
                page.wait_for_timeout(300)
                save(page.screenshot(), folder / f"collector-{name}.png")
                context.close()


def save(png: bytes, path: Path) -> None:
    """Keep a picture in 256 colours: a third of the size, and the few colours of small signs stay."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def fill(url: str, database: Path) -> None:
    """Post two hours of a fleet's life that ends now."""
    now = time.time()
    for place in range(CLIENTS):
        name = f"edge-{place + 1:02}"
        last = {STALE: now - 100, LOST: now - 3000}.get(name, now)
        generated.post(
            url, "/log", generated.bodies(name, place, now - 3600 * HOURS, last, 5, has_power=place % 6 != 4)
        )
    functions = [
        ("CPU imbalance over the fleet", "guaranteed", "its curvature is bounded over the whole domain"),
        ("CPU of the busiest tenth", "exact", "the zone is the admissible region in closed form"),
        ("Entropy of memory use", "heuristic", "the curvature was searched for, not proved"),
    ]
    units = ["percent", "percent", ""]
    sent: list[dict[str, Any]] = [
        generated.function(*one, now - 3000, now, unit=unit, points=600)
        for one, unit in zip(functions, units, strict=True)
    ]
    generated.post(url, "/api/v1/functions", sent)
    generated.heard(database, now + 60)
    generated.heard(database, now - 100, STALE)
    generated.heard(database, now - 3000, LOST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
