"""Rows of a run as OTLP's protobuf messages, and what a receiver's answers say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric, NumberDataPoint

from heflwr.monitor.sinks._otlp_names import SCHEMA_URL, Instrument


def export_request(head: str, rows: Sequence[str]) -> bytes:
    """Return the request that carries these rows.

    Args:
        head: As `_otlp_rows.head` makes it.
        rows: As `_otlp_rows.Rows.row` makes them; a point a value, at the row's own time. One that a power cut has
            spoilt on disk is left out.
    """
    told = json.loads(head)
    samples = [sample for row in rows if (sample := _sample(row, 1 + len(told["columns"])))]
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(_attributes(told["resource"]))
    scope = resource.scope_metrics.add(schema_url=SCHEMA_URL)
    scope.scope.name, scope.scope.version = told["scope"]
    metrics: dict[str, Metric] = {}
    for place, column in enumerate(told["columns"], 1):
        name, instrument = column["name"], Instrument(column["instrument"])
        start_ns = 0 if instrument is Instrument.GAUGE else told["start"]
        points = [
            _point(sample[0], sample[place], start_ns, column["attributes"])
            for sample in samples
            if sample[place] is not None
        ]
        if points:
            if name not in metrics:
                metrics[name] = scope.metrics.add(name=name, unit=column["unit"], description=column["description"])
            _data_points(metrics[name], instrument).extend(points)
    return bytes(request.SerializeToString())


def rejection(body: bytes) -> tuple[int, str]:
    """Return how many points a receiver took leave to reject of a request that it took, and why.

    Raises:
        ValueError: The body is no answer of a receiver.
    """
    try:
        told = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return max(0, told.rejected_data_points), told.error_message


def trouble(body: bytes) -> str:
    """Return what the body of an error (a google.rpc.Status) says, "" where it says nothing.

    A Status has its code and its message where a partial success has its number and its message, so that one
    decodes the other.
    """
    try:
        return str(ExportMetricsPartialSuccess.FromString(body).error_message)
    except DecodeError:
        return ""


def _sample(row: str, width: int) -> list[Any]:
    """Return a row's time and values, nothing where it is not such a row."""
    try:
        sample = json.loads(row)
    except ValueError:
        return []
    is_whole = isinstance(sample, list) and len(sample) == width and isinstance(sample[0], int)
    return sample if is_whole and all(value is None or isinstance(value, (int, float)) for value in sample) else []


def _point(time_ns: int, value: float | int, start_ns: int, attributes: dict[str, Any]) -> NumberDataPoint:
    point = NumberDataPoint(time_unix_nano=time_ns, start_time_unix_nano=start_ns, attributes=_attributes(attributes))
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    return point


def _data_points(metric: Metric, instrument: Instrument) -> Any:
    if instrument is Instrument.GAUGE:
        return metric.gauge.data_points
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.is_monotonic = instrument is Instrument.COUNTER
    return metric.sum.data_points


def _attributes(values: dict[str, str | bool | int | float]) -> list[KeyValue]:
    return [_attribute(key, value) for key, value in values.items()]


def _attribute(key: str, value: str | bool | int | float) -> KeyValue:
    attribute = KeyValue(key=key)
    if isinstance(value, bool):  # before int, of which it is one
        attribute.value.bool_value = value
    elif isinstance(value, int):
        attribute.value.int_value = value
    elif isinstance(value, float):
        attribute.value.double_value = value
    else:
        attribute.value.string_value = value
    return attribute
