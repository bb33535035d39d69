"""The state of a coordinator or of a node as bytes and as a file, so that either survives its process.

    magic      4 bytes
    format     1 byte
    arrays     how many; of each: name, type, shape, numbers, little-endian
    checksum   4 bytes, CRC-32 of all before

A file is written beside and then renamed: whoever reads it finds the old state or the new one, whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from heflwr.automon.codec import decode, encode
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Constraint
from heflwr.automon.protocols.node import NodeState
from heflwr.automon.wire import Reader, count_bytes
from heflwr.automon.zones.zone import PointFunction, Unfinished

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"\xa7MST"
FORMAT = 1

TYPES = "biufUS"
"""The kinds of NumPy types that are stored: flags, numbers, names."""


def arrays_to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return named arrays of numbers, flags or names as bytes.

    Raises:
        TypeError: An array holds something else.
    """
    parts = [MAGIC, bytes([FORMAT]), count_bytes(len(arrays))]
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.dtype.kind not in TYPES:
            raise TypeError(f"{name} is an array of {array.dtype}, which is not stored")
        array = array.astype(array.dtype.newbyteorder("<"), order="C")
        for text in (name, array.dtype.str):
            parts += [count_bytes(len(text.encode())), text.encode()]
        parts += [count_bytes(array.ndim), *map(count_bytes, array.shape), array.tobytes()]
    data = b"".join(parts)
    return data + crc32(data).to_bytes(4, "little")


def arrays_from_bytes(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays that `arrays_to_bytes` got.

    Raises:
        MalformedMessage: The bytes are something else, of another format, cut or damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedMessage(f"a state begins with {MAGIC!r}, got {data[: len(MAGIC)]!r}")
    if crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise MalformedMessage("the state is damaged: its checksum is wrong")
    reader = Reader(data[:-4])
    reader.take(len(MAGIC), "the magic")
    if (found := reader.byte("the format")) != FORMAT:
        raise MalformedMessage(f"a state of format {found} was found, this program reads {FORMAT}")
    arrays: dict[str, NDArray[Any]] = {}
    for _ in range(reader.count("the number of arrays")):
        name = _text(reader, "a name")
        kind = _text(reader, f"the type of {name}")
        try:
            dtype = np.dtype(kind)
        except (TypeError, ValueError) as error:
            raise MalformedMessage(f"{name} has type {kind!r}, which is none") from error
        if dtype.kind not in TYPES or dtype.str != kind:
            raise MalformedMessage(f"{name} has type {kind!r}, which is not stored")
        shape = tuple(reader.count(f"an axis of {name}") for _ in range(reader.count(f"the axes of {name}")))
        numbers = reader.take(prod(shape) * dtype.itemsize, name)
        try:
            array = np.zeros(shape, dtype)
            array.reshape(-1)[:] = np.frombuffer(numbers, dtype) if numbers else []
        except ValueError as error:
            raise MalformedMessage(f"{name} cannot have shape {shape}: {error}") from error
        arrays[name] = array.astype(dtype.newbyteorder("="))
    reader.end()
    return arrays


def node_to_arrays(state: NodeState) -> dict[str, NDArray[Any]]:
    """Return a node's state as arrays; the zone as the bytes that it travels as."""
    arrays: dict[str, NDArray[Any]] = {}
    for field in fields(state):
        value = getattr(state, field.name)
        if field.name == "zone" and value is not None:
            arrays["zone"] = np.frombuffer(encode(Constraint(0, value, None)), dtype=np.uint8)
        elif value is not None:
            arrays[field.name] = np.asarray(value)
    return arrays


def node_from_arrays(arrays: Mapping[str, NDArray[Any]], function: PointFunction) -> NodeState:
    """Return the state that `node_to_arrays` got.

    Args:
        arrays: They may hold more; that is left alone.
        function: The node's, for what its zone does not hold itself.

    Raises:
        MalformedMessage: They are no state of a node.
    """
    values: dict[str, Any] = {}
    for field in fields(NodeState):
        if field.name in arrays:
            array = arrays[field.name]
            values[field.name] = array.item() if array.ndim == 0 else array
    try:
        if "zone" in values:
            constraint = decode(values["zone"].tobytes())
            zone = constraint.zone if isinstance(constraint, Constraint) else None
            values["zone"] = zone.finished(function, None) if isinstance(zone, Unfinished) else zone
        return NodeState(**values)
    except (TypeError, AttributeError) as error:
        raise MalformedMessage(f"these arrays are no state of a node: {error}") from error


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Store arrays in a file, all or nothing, also if the machine stops.

    Raises:
        OSError: The file cannot be written.
    """
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(arrays_to_bytes(arrays))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the arrays in a file; None where there is no file.

    Raises:
        MalformedMessage: The file holds something else.
        OSError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return arrays_from_bytes(data)
    except MalformedMessage as error:
        raise MalformedMessage(f"{path}: {error}") from error


def _text(reader: Reader, what: str) -> str:
    try:
        return reader.take(reader.count(f"the length of {what}"), what).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"{what} is no text") from error
