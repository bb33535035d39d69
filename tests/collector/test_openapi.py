"""openapi.yaml is what the collector does: requests are made from it, and answers are held against it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from heflwr.collector import Store, create_app

_directory = tempfile.TemporaryDirectory()
_store = Store(Path(_directory.name, "heflwr.db"))
_store.open()
schema = schemathesis.openapi.from_wsgi("/openapi.yaml", create_app(_store, rate=0, listeners=0))


def teardown_module() -> None:
    _store.close()
    _directory.cleanup()


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schema.exclude(path="/api/v1/events").parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_document_says(case: schemathesis.Case) -> None:
    """Whatever is asked, rightly or wrongly: no 500, and a status, a type and a body that are in the document."""
    case.call_and_validate(checks=CHECKS, headers={"Accept-Encoding": "identity"})


def test_every_endpoint_is_in_the_document() -> None:
    """Nothing is served that is not written down, but for the page, this document and what InfluxDB's clients ask."""
    from heflwr.collector.gate import PATHS

    app = create_app(_store)
    rules = {rule.rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("page.")} | set(PATHS)
    assert rules - {"/openapi.yaml", "/ping", "/query"} == set(schema.raw_schema["paths"])
