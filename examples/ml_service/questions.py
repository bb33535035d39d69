"""What one asks Prometheus about the services, and how."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import NamedTuple

WINDOW = "5s"
"""Of rates: ten scrapes. Where there is one each 15 s, as usual, it would be 1m at least."""

_PREDICT = f'route="/predict"}}[{WINDOW}]'
_PREDICTED = f'route="/predict",status="2xx"}}[{WINDOW}]'


class Question(NamedTuple):
    """A PromQL expression, and what it says."""

    what: str
    query: str


KL_DRIFT = Question("inputs' KL drift, nats", 'ml_input_kl_nats{inputs="recent"}')

TARGETS_UP = Question("targets that answer", "sum by (service) (up)")

QUESTIONS = (
    Question("requests a second", f"sum by (service) (rate(ml_requests_total{{{_PREDICT}))"),
    Question(
        "latency, 95th percentile, ms",
        f"1000 * histogram_quantile(0.95, sum by (service, le) (rate(ml_request_duration_seconds_bucket{{{_PREDICT})))",
    ),
    Question(
        "refused or failed, share",
        f"sum by (service) (rate(ml_errors_total[{WINDOW}])) / sum by (service) (rate(ml_requests_total{{{_PREDICT}))",
    ),
    Question(
        "inputs' variance, of training's",
        'ml_input_variance{inputs="recent"} / ignoring (inputs) ml_input_variance{inputs="training"}',
    ),
    KL_DRIFT,
    Question(
        "CPU of a prediction, ms",
        f"1000 * sum by (service) (rate(heflwr_http_request_cpu_seconds_sum{{{_PREDICTED}))"
        f" / sum by (service) (rate(heflwr_http_request_cpu_seconds_count{{{_PREDICTED}))",
    ),
    Question(
        "memory while predicting, MiB",
        'max by (service) (heflwr_http_request_memory_peak_bytes{route="/predict"}) / 2^20',
    ),
    Question("cores in use, all processes", f"rate(heflwr_cpu_seconds_total[{WINDOW}])"),
    Question("memory, all processes, MiB", "heflwr_memory_resident_bytes / 2^20"),
    Question("both services, requests a second", f"sum(rate(ml_requests_total{{{_PREDICT}))"),
)


def ask(prometheus: str, question: Question) -> dict[str, float]:
    """Return the answer: a value a service, "" for one that is about all."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': question.query})}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    with opener.open(url, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return {series["metric"].get("service", ""): float(series["value"][1]) for series in found}
