"""axe-core finds nothing serious in any view, light or dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

VIEWS = {
    "": ".fleet tbody th",
    "#/client/client-2?range=all": ".chart canvas",
    "#/client/nobody": ".notice",
    "#/compare?item=client-2&item=client-3": ".chart canvas",
    "#/compare": ".notice",
    "#/functions": ".chart canvas",
}


RULES: dict[str, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""What is looked for: everything once, and what depends on colours again in the dark."""


@pytest.mark.parametrize("scheme", list(RULES))
def test_no_view_keeps_anyone_out(scheme: str, fleet: str, opened: Callable[..., Any]) -> None:
    """Contrast, names, roles and order of every view are as assistive technology needs them."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(fleet, color_scheme=scheme)
    found = []
    for view, ready in VIEWS.items():
        page.goto(f"{fleet}/{view}")
        page.wait_for_selector(ready)
        violations = Axe().run(page, options=RULES[scheme]).response["violations"]
        found += [
            (view, one["id"], one["impact"], node["target"], node.get("failureSummary", ""))
            for one in violations
            for node in one["nodes"]
            if one["impact"] in ("serious", "critical", "moderate")
        ]
    assert found == []
