"""The fleet catalogue as kinds with arguments: what a file may say of each is read from the catalogue itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from heflwr.automon import fleet
from heflwr.live.errors import WrongWatches

LEFT_OUT = ("bound", "name")
"""Arguments that a list of watches gives in the same way for every kind."""

_PLAIN = {"str": (str,), "int": (int,), "float": (int, float)}
"""Of a parameter's type, what a file may hold."""


def kinds() -> dict[str, Callable[..., fleet.Measure]]:
    """Return what can be watched, by name: entries of the catalogue that need no Python to be described."""
    found: dict[str, Callable[..., fleet.Measure]] = {}
    for name in fleet.__all__:
        entry = getattr(fleet, name)
        if isinstance(entry, fleet.Measure):
            found[name] = _constant(entry)
        elif inspect.isfunction(entry) and _is_plain(inspect.signature(entry)):
            found[name] = entry
    return found


def _is_plain(signature: inspect.Signature) -> bool:
    """Return whether a file can hold all that an entry of the catalogue takes."""
    takes_function = any("Callable" in str(each.annotation) for each in signature.parameters.values())
    return signature.return_annotation == "Measure" and not takes_function


def made(kind: str, arguments: Mapping[str, Any]) -> fleet.Measure:
    """Return the measure of a kind.

    Args:
        kind: One of `kinds`.
        arguments: Of that entry of the catalogue; several metrics under `metrics`.

    Raises:
        WrongWatches: An argument is missing, unknown or of another type.
        ValueError, TypeError: The entry does not take it.
    """
    entry = kinds()[kind]
    parameters = {name: each for name, each in inspect.signature(entry).parameters.items() if name not in LEFT_OUT}
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        raise WrongWatches(f"{kind} has no {unknown[0]!r}; it takes {', '.join(parameters) or 'nothing'}")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in arguments:
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
                raise WrongWatches(f"{kind} needs {name!r}")
            continue
        value = arguments[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise WrongWatches(f"{name} must be a list of texts, got {value!r}")
            positional = value
        else:
            named[name] = _checked(name, value, str(parameter.annotation))
    return entry(*positional, **named)


def _checked(name: str, value: Any, annotation: str) -> Any:
    """Return a plain value of the parameter's type; what is not plain the entry checks itself."""
    types = _PLAIN.get(annotation.partition(" |")[0])
    if types is not None and (isinstance(value, bool) or not isinstance(value, types)):
        raise WrongWatches(f"{name} must be {' or '.join(each.__name__ for each in types)}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongWatches(f"{name} must be finite, got {value!r}")
    return value


def _constant(measure: fleet.Measure) -> Callable[[], fleet.Measure]:
    def constant() -> fleet.Measure:
        return measure

    return constant
