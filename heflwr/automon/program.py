"""A monitored function as a list of NumPy calls: data that travels, and a node runs without JAX.

A program is a register machine without jumps. Register 0 is the point x, registers 1..k are constants, and every
instruction appends one register. Operations are looked up in `OPERATIONS` by name, so a program that comes from
elsewhere can call nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.errors import MalformedMessage

Call = Callable[..., Any]
Make = Callable[[tuple[int, ...]], Call]


def _logistic(x: Any) -> Any:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _elementwise(function: Callable[[float], float]) -> Call:
    ufunc = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(ufunc(x), dtype=np.float64)


def _where(which: Any, *cases: Any) -> Any:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases)


def _axes(parameters: tuple[int, ...]) -> tuple[int, ...] | int:
    return parameters[0] if len(parameters) == 1 else parameters


def _reduce(ufunc: np.ufunc) -> Make:
    def make(parameters: tuple[int, ...]) -> Call:
        axes, reduce = _axes(parameters), ufunc.reduce
        return lambda x: reduce(x, axes)

    return make


def _scan(ufunc: np.ufunc) -> Make:
    def make(parameters: tuple[int, ...]) -> Call:
        axis, backwards = parameters
        if backwards:
            return lambda x: np.flip(ufunc.accumulate(np.flip(x, axis), axis), axis)
        return lambda x: ufunc.accumulate(x, axis)

    return make


def _slice(parameters: tuple[int, ...]) -> Call:
    """Parameters: a start, a stop and a step for every axis."""
    key = tuple(slice(*parameters[i : i + 3]) for i in range(0, len(parameters), 3))
    return itemgetter(key[0] if len(key) == 1 else key)


def _pick(parameters: tuple[int, ...]) -> Call:
    return itemgetter(parameters[0] if len(parameters) == 1 else parameters)


def _plain(call: Call) -> Make:
    return lambda _: call


_CALLS: dict[str, Call] = {
    "abs": np.abs, "acos": np.arccos, "acosh": np.arccosh, "add": np.add, "and": np.bitwise_and, "asin": np.arcsin,
    "asinh": np.arcsinh, "atan": np.arctan, "atan2": np.arctan2, "atanh": np.arctanh, "cbrt": np.cbrt,
    "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "div": np.true_divide, "dot": np.dot, "eq": np.equal,
    "erf": _elementwise(math.erf), "erfc": _elementwise(math.erfc), "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "floor": np.floor, "ge": np.greater_equal, "gt": np.greater, "is_finite": np.isfinite,
    "le": np.less_equal, "lgamma": _elementwise(math.lgamma), "log": np.log, "log1p": np.log1p,
    "logistic": _logistic, "lt": np.less, "matmul": np.matmul, "max": np.maximum, "min": np.minimum,
    "mul": np.multiply, "ne": np.not_equal, "neg": np.negative, "not": np.invert, "or": np.bitwise_or,
    "pow": np.float_power, "reciprocal": np.reciprocal, "rem": np.fmod, "round": np.rint,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "select_n": _where, "sign": np.sign, "sin": np.sin, "sinh": np.sinh, "sqrt": np.sqrt, "square": np.square,
    "sub": np.subtract, "tan": np.tan, "tanh": np.tanh, "to_float": lambda x: np.asarray(x, dtype=np.float64),
    "to_int": lambda x: np.asarray(x, dtype=np.int64), "xor": np.bitwise_xor,
}  # fmt: skip

OPERATIONS: dict[str, Make] = {name: _plain(call) for name, call in _CALLS.items()} | {
    "argmax": lambda p: lambda x: np.argmax(x, p[0]),
    "argmin": lambda p: lambda x: np.argmin(x, p[0]),
    "concatenate": lambda p: lambda *xs: np.concatenate(xs, p[0]),
    "cumlogsumexp": _scan(np.logaddexp),
    "cummax": _scan(np.maximum),
    "cummin": _scan(np.minimum),
    "cumprod": _scan(np.multiply),
    "cumsum": _scan(np.add),
    "pick": _pick,
    "reduce_and": _reduce(np.logical_and),
    "reduce_max": _reduce(np.maximum),
    "reduce_min": _reduce(np.minimum),
    "reduce_or": _reduce(np.logical_or),
    "reduce_prod": _reduce(np.multiply),
    "reduce_sum": _reduce(np.add),
    "reshape": lambda p: lambda x: np.reshape(x, p),
    "slice": _slice,
    "sort": lambda p: lambda x: np.sort(x, p[0]),
    "take": lambda _: lambda x, at: np.ravel(x)[at],
    "transpose": lambda p: lambda x: np.transpose(x, p),
}
"""Every operation by name: its integer parameters give the NumPy call."""


@dataclass(frozen=True)
class Instruction:
    """Append `operation` of the registers `inputs` as the next register."""

    operation: str
    inputs: tuple[int, ...]
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """A function of one vector as NumPy calls.

    Args:
        dim: Size of the vector.
        constants: Registers 1 to k.
        instructions: One appended register each.
        output: The register that is the value.
    """

    dim: int
    constants: tuple[NDArray[Any], ...]
    instructions: tuple[Instruction, ...]
    output: int
    _steps: list[tuple[Call, int, Any]] = field(init=False, repr=False)
    _constants: list[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if any(one.dtype.kind not in "biuf" for one in self.constants):
            raise MalformedMessage(f"a program's constants are numbers, got {[one.dtype for one in self.constants]}")
        registers, steps = 1 + len(self.constants), list[tuple[Call, int, Any]]()
        for instruction in self.instructions:
            inputs = instruction.inputs
            if instruction.operation not in OPERATIONS:
                raise MalformedMessage(f"a program has no operation {instruction.operation!r}")
            if not inputs or not all(0 <= at < registers for at in inputs):
                raise MalformedMessage(f"{instruction.operation} reads registers {inputs} of {registers}")
            call = OPERATIONS[instruction.operation](instruction.parameters)
            rest = inputs if len(inputs) > 2 else inputs[1] if len(inputs) == 2 else -1
            steps.append((call, inputs[0], rest))
            registers += 1
        if not 0 <= self.output < registers:
            raise MalformedMessage(f"a program's value is register {self.output} of {registers}")
        object.__setattr__(self, "_steps", steps)
        # A Python number in place of an array of no axes: NumPy adds it in half of the time.
        object.__setattr__(self, "_constants", [one if one.ndim else one.item() for one in self.constants])

    def __call__(self, x: NDArray[np.float64]) -> float:
        """Return the value at x, shape (dim,); where the function has none, NaN or an infinity, without a warning."""
        registers: list[Any] = [x, *self._constants]
        append = registers.append
        with np.errstate(all="ignore"):
            for call, first, rest in self._steps:
                if rest.__class__ is tuple:
                    append(call(*[registers[at] for at in rest]))
                elif rest < 0:
                    append(call(registers[first]))
                else:
                    append(call(registers[first], registers[rest]))
        return float(registers[self.output])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of the program as named arrays, as `numpy.savez` takes them; no pickles."""
        arrays: dict[str, NDArray[Any]] = {f"constant{i}": array for i, array in enumerate(self.constants)}
        operands = [[*one.inputs, *one.parameters] for one in self.instructions]
        arrays["shape"] = np.array([self.dim, self.output, len(self.constants)], dtype=np.int64)
        arrays["operations"] = np.array([one.operation for one in self.instructions], dtype="S")
        arrays["counts"] = np.array(
            [(len(one.inputs), len(one.parameters)) for one in self.instructions], dtype=np.int64
        ).reshape(-1, 2)
        arrays["operands"] = np.array([number for row in operands for number in row], dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Program:
        """Return the program that `to_arrays` gave.

        Raises:
            MalformedMessage: An array is missing or contradicts the others, or an operation is unknown.
        """
        try:
            dim, output, constants = (int(number) for number in arrays["shape"])
            names, counts = arrays["operations"].tolist(), arrays["counts"].tolist()
            operands, instructions, at = arrays["operands"].tolist(), [], 0
            for name, (inputs, parameters) in zip(names, counts, strict=True):
                middle, end = at + inputs, at + inputs + parameters
                instructions.append(
                    Instruction(name.decode("ascii"), tuple(operands[at:middle]), tuple(operands[middle:end]))
                )
                at = end
            if at != len(operands) or dim < 1:
                raise ValueError(f"{len(operands)} operands where {at} are counted, dim {dim}")
            return cls(dim, tuple(arrays[f"constant{i}"] for i in range(constants)), tuple(instructions), output)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise MalformedMessage(f"these arrays are no program: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Program, (self.dim, self.constants, self.instructions, self.output)
