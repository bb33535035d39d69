"""The form-encoded posts of heflwr 0.1, which logged its samples as words through logging.handlers.HTTPHandler."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from heflwr.collector.records import Line, LineBatch, Refusal

FIELDS_MAX = 100
"""A LogRecord has some 25 fields; extras are the caller's."""

_KEPT = ("name", "levelname", "filename", "lineno", "funcName", "process", "threadName", "exc_text")
"""What is worth keeping of a LogRecord; the rest repeats these."""

_METRICS = {
    "Cpu Usage": "cpu_usage",
    "Memory Usage": "memory_usage",
    "Bytes Sent": "network_bytes_sent",
    "Bytes Recv": "network_bytes_recv",
    "VDD In": "power_vdd_in",
    "VDD cpu_gpu_cv": "power_vdd_cpu_gpu_cv",
    "VDD soc": "power_vdd_soc",
}

_PART = re.compile(r"([A-Za-z_ ]{1,20}): (-?\d{1,18}(?:\.\d{1,18})?)%?")


def parse_form(body: bytes) -> LineBatch:
    """Return the one log line of a form: fields identifier and message, from /log those of a LogRecord too.

    Raises:
        Refusal: Not a form, or one without these fields.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        raise Refusal(400, "form", f"the body is not a form of at most {FIELDS_MAX} fields: {error}") from error
    form = dict(pairs)
    for name in ("identifier", "message"):
        if name not in form:
            raise Refusal(400, "form", f"the form has no field {name!r}")
    try:
        created = float(form["created"]) if "created" in form else None
    except ValueError as error:
        raise Refusal(400, "time", f"created must be Unix time in seconds, got {form['created'][:40]!r}") from error
    fields: dict[str, str | int] = {name: form[name] for name in _KEPT if form.get(name, "None") != "None"}
    message = form["message"]
    return LineBatch(form["identifier"], None, (Line(message, created, None, fields, measured(message)),))


def measured(message: str) -> dict[str, float]:
    """Return the numbers of a message like "Cpu Usage: 1.2%, Bytes Sent: 3, ", {} for any other message."""
    values: dict[str, float] = {}
    for part in message.rstrip(", ").split(", "):
        match = _PART.fullmatch(part)
        metric = _METRICS.get(match[1]) if match else None
        if match is None or metric is None:
            return {}
        values[metric] = float(match[2]) if "." in match[2] else int(match[2])
    return values
