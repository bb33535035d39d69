"""A store on each database that it can have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest

from heflwr.collector import Store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server of the tests' own."""
    with postgres.server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database without anything in it."""
    if request.param == "sqlite":
        return tmp_path / "heflwr.db"
    address = request.getfixturevalue("postgres_server")
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS heflwr CASCADE")
    return address


@pytest.fixture
def store(place: Any) -> Iterator[Store]:
    """An open store on it."""
    with Store(place) as store:
        yield store
