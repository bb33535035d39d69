"""What the server answers before the application has seen a request: a head that is too long, or is not HTTP."""

from __future__ import annotations

import json

from waitress.task import ErrorTask

from heflwr.collector.answers import Answer


class EarlyAnswer(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """A refusal with its reason in JSON, as the application's are; the connection ends with it."""

    def execute(self) -> None:
        """Count it and write it."""
        error = self.request.error
        if error.code < 500:  # else the application failed
            self.channel.owner.refused("http")
        answer = Answer(error.code, {"error": f"{error.reason}: {error.body}"})
        body = json.dumps(answer.body).encode() + b"\n"
        self.status = answer.status_line
        self.response_headers.extend(answer.headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
