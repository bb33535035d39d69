"""The collector's memory: `Store` over a database, SQLite or PostgreSQL.

`database.py` is the port, `sqlite.py` and `postgres.py` are the adapters; all other SQL is written once. Samples are
kept as chunks (`chunks.py`) and, added up by minute, quarter of an hour and four hours, as rollups (`rollups.py`).
"""

from heflwr.collector.store.errors import StoreFailed, StoreUnavailable
from heflwr.collector.store.store import Store

__all__ = ["Store", "StoreFailed", "StoreUnavailable"]
