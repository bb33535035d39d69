"""The receiving end: takes samples and log lines over HTTP, keeps them, hands them out again and shows them.

`heflwr collector` serves it; `create_app` is for a WSGI server of your own. Needs the extra `heflwr[collector]`.
Endpoints, bodies, errors and limits are in docs/collector.md.
"""

from heflwr.collector.app import create_app
from heflwr.collector.store import Store, StoreFailed, StoreUnavailable

__all__ = ["Store", "StoreFailed", "StoreUnavailable", "create_app"]
