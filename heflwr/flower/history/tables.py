"""A history as a table, a row a message: for pandas, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from heflwr.flower.cost import NAMES
from heflwr.flower.entry import Entry
from heflwr.flower.history import lines
from heflwr.flower.history.contents import Contents

if TYPE_CHECKING:
    import pandas

METRIC = "metric."
"""Begins the name of a column with one of the replies' metrics."""

FIRST_COLUMNS = ("node", "name", "round", "kind", "status")
"""By these a CSV file is known for a history."""

_WHOLE = ("node", "round", "bytes_sent", "bytes_received")
_TEXTS = ("name", "kind", "status", "error", "host")
_NESTED = ("sources", "notes")
_NOT_FLOATS = {*_WHOLE, *_TEXTS, "in_simulation", *_NESTED}
_TIMES = ("sent", "received", "started")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""Begins a text that a spreadsheet would take for a formula: clients choose names and errors. An apostrophe before it
keeps it a text; one that begins with an apostrophe and such a sign gets one more, so that only ours is taken off."""

_READ_AS_NUMBERS = {*_TIMES, *NAMES}
_LARGEST_SIGNED = 2**63 - 1

_ROWS_AT_A_TIME = 1000
"""As Python objects a row of Parquet takes a hundred times the memory."""


def columns(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    """Return the columns of `Entry.record`, all of one length; None where an entry lacks a metric."""
    table: dict[str, list[Any]] = {name: [] for name in Entry(0, "", 0, "", 0.0).record() if name not in _NESTED}
    nested: dict[str, list[Any]] = {name: [] for name in _NESTED}
    for at, entry in enumerate(entries):
        row = entry.record()
        for name in row:
            if name not in table and name not in nested:
                table[name] = [None] * at
        for name, values in table.items():
            values.append(row.get(name))
        for name, values in nested.items():
            values.append(row[name])
    return table | nested


def to_pandas(entries: Sequence[Entry]) -> pandas.DataFrame:
    """Return a data frame, a row a message.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install 'heflwr[pandas]'") from error
    table: dict[str, Any] = columns(entries)
    for name in table.keys() - _NOT_FLOATS:  # else a column without a single number would be one of objects
        table[name] = pandas.Series(table[name], dtype="float64")
    return pandas.DataFrame(table)


def write_csv(contents: Contents, file: TextIO) -> None:
    """Write the messages and the names of the columns; lists and mappings are JSON in their cell.

    A text that begins like a formula is written with an apostrophe before it.
    """
    table = _with_texts(columns(contents.entries))
    table |= {name: [f"'{text}" if _FORMULA.match(text) else text for text in table[name]] for name in _TEXTS}
    writer = csv.writer(
        file, lineterminator="\r\n"
    )  # the writer quotes a lone \r only where it belongs to a line's end
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))


def read_csv(file: TextIO) -> Contents:
    """Read what write_csv() wrote. Raises ValueError where the first line is not that of a history."""
    rows = csv.reader(file)
    names = next(rows, [])
    if tuple(names[: len(FIRST_COLUMNS)]) != FIRST_COLUMNS:
        raise ValueError(f"its columns do not begin with {','.join(FIRST_COLUMNS)}")
    contents = Contents()
    while True:
        try:
            cells = next(rows)
            row = dict(zip(names, cells, strict=True))
            for name in _WHOLE:
                row[name] = int(row[name])  # type: ignore[assignment]
            row |= {name: row[name][1:] for name in _TEXTS if row[name].startswith("'") and _FORMULA.match(row[name])}
            row["in_simulation"] = {"True": True, "False": False}[row["in_simulation"]]  # type: ignore[assignment]
            contents.entries.append(_entry_of(row))
        except StopIteration:
            return contents
        except (csv.Error, *lines.MALFORMED):
            contents.bad_lines += 1


def write_parquet(contents: Contents, file: BinaryIO) -> None:
    """Write messages as a table, and what else belongs to the run as its metadata.

    Raises:
        ImportError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    table = _with_texts(columns(contents.entries))
    types: dict[str, Any] = dict.fromkeys(table, pyarrow.float64())
    types |= dict.fromkeys(_WHOLE, pyarrow.int64())
    types |= dict.fromkeys((*_TEXTS, *_NESTED), pyarrow.string())
    types["in_simulation"] = pyarrow.bool_()
    if any(node > _LARGEST_SIGNED for node in table["node"]):
        types["node"] = pyarrow.uint64()
    about = "".join([lines.header(), *lines.rest(contents)])
    schema = pyarrow.schema(list(types.items()), metadata={lines.HEADER: about})
    arrays = [pyarrow.array(_floats(values, types[name], pyarrow), types[name]) for name, values in table.items()]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), file)


def read_parquet(path: str | os.PathLike[str]) -> Contents:
    """Read what write_parquet() wrote.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: It is another Parquet file, or torn.
    """
    pyarrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(Path(path))
    except pyarrow.ArrowException as error:
        raise ValueError(f"not a whole Parquet file: {error}") from error
    about = (table.schema.metadata or {}).get(lines.HEADER.encode(), b"")
    contents = lines.read(io.StringIO(about.decode(errors="replace")))
    for batch in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for row in batch.to_pylist():
            try:
                contents.entries.append(_entry_of(row))
            except lines.MALFORMED:
                contents.bad_lines += 1
    return contents


def _with_texts(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the table with its lists and mappings as JSON."""
    return table | {name: [json.dumps(value) for value in table[name]] for name in _NESTED}


def _floats(values: list[Any], type: Any, pyarrow: Any) -> list[Any]:
    """Return whole numbers as floats where the column has floats: Arrow refuses those that lose digits."""
    if type != pyarrow.float64():
        return values
    return [None if value is None else float(value) for value in values]


def _entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a flat row; numbers may be texts, and what is missing None or empty."""
    numbers: dict[str, float] = {
        name: _number(value)
        for name, value in row.items()
        if value is not None and value != "" and (name in _READ_AS_NUMBERS or name.startswith(METRIC))
    }
    nested = {
        **row,
        **{name: numbers.get(name) for name in _TIMES},
        "cost": {name: numbers[name] for name in NAMES if name in numbers},
        "metrics": {name.removeprefix(METRIC): numbers[name] for name in numbers if name.startswith(METRIC)},
        **{name: json.loads(row[name]) for name in _NESTED},
    }
    if nested["sent"] is None:
        nested["sent"] = math.nan
    return lines.entry_of(nested)


def _number(value: Any) -> float:
    """Return what CSV wrote, whole numbers without a detour by floats."""
    if not isinstance(value, str):
        return float(value)
    return int(value) if value.removeprefix("-").isdecimal() else float(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'heflwr[parquet]'") from error
    return pyarrow, parquet
