"""What a request may hold: anything else is refused with a status, a reason to count and a sentence for people."""

from __future__ import annotations

import numpy as np
from flask import Request
from model import BRIGHTEST, PIXELS
from werkzeug.exceptions import HTTPException

BODY_BYTES = 256 * 1024
INPUTS_MOST = 100
"""A request: two milliseconds of the model's time."""


class RefusedError(Exception):
    """The client's fault.

    Attributes:
        status: To answer with.
        reason: One of a few words, a label.
    """

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


def inputs_of(request: Request) -> np.ndarray:
    """Return the inputs of {"inputs": [[64 numbers from 0 to 16], ...]}, shape (n, 64). Raises RefusedError."""
    try:
        body = request.get_json()
    except HTTPException as error:  # 400, 413 and 415, with Werkzeug's words
        raise RefusedError(error.code or 400, "body", error.description or "no JSON") from error
    except RecursionError as error:
        raise RefusedError(400, "body", "the JSON is nested too deeply") from error
    if not isinstance(body, dict) or set(body) != {"inputs"}:
        raise RefusedError(400, "shape", 'the body must be {"inputs": [[...], ...]}')
    rows = body["inputs"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= INPUTS_MOST:
        raise RefusedError(400, "shape", f"inputs must be a list of 1 to {INPUTS_MOST}")
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != PIXELS:
            raise RefusedError(400, "shape", f"inputs[{place}] must be a list of {PIXELS} numbers")
        for pixel, value in enumerate(row):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RefusedError(400, "type", f"inputs[{place}][{pixel}] must be a number, got {str(value)[:40]!r}")
            if not 0 <= value <= BRIGHTEST:  # NaN is not
                text = f"inputs[{place}][{pixel}] must be from 0 to {BRIGHTEST:g}, got {value!r:.40}"
                raise RefusedError(422, "range", text)
    return np.array(rows, dtype=float)
