"""From a jaxpr to a NumPy program: what JAX traced, a node evaluates without it.

What depends on no input is computed here, once. Broadcasts are left to NumPy wherever the operation that reads one
broadcasts by itself; every shape below is checked against the one that JAX traced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.program import Instruction, Program

INLINED = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr",
    "checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr", "custom_lin": "call_jaxpr",
}  # fmt: skip
"""Primitives that only call another jaxpr, and the parameter that holds it."""

_IDENTITIES = {"copy", "copy_p", "reduce_precision", "stop_gradient", "optimization_barrier"}
_ELEMENTWISE = {
    "abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh",
    "div", "eq", "erf", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "is_finite", "le", "lgamma", "log",
    "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "rem", "rsqrt", "select_n",
    "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "xor",
}  # fmt: skip
_REDUCTIONS = {"reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"}
_SCANS = {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"}
_MOVES: dict[str, tuple[int, ...]] = {
    "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "gather": (0,), "pad": (0, 1), "rev": (0,),
    "scatter": (0, 2), "split": (0,), "stack": (), "tile": (0,),
}  # fmt: skip
"""Primitives that only move numbers, and which of their operands hold these (none named: all); the others say where."""
_WAY_OUT = "give numpy=, a function of a NumPy vector, or write fn without it"


class Known:
    """A value that depends on no input."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


class Register:
    """A value that depends on the input, and the shape it really has: that of JAX, or one that broadcasts to it."""

    def __init__(self, at: int, shape: tuple[int, ...]) -> None:
        self.at = at
        self.shape = shape


Value = Known | Register


def lower(closed: Any, dim: int) -> Program:
    """Return the program of a closed jaxpr that takes one vector of `dim` float64 and gives one float64.

    Raises:
        UnsupportedFunction: It contains a primitive that has no NumPy counterpart here.
    """
    return _Lowering(dim).program(closed)


class _Lowering:
    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.constants: list[NDArray[Any]] = []
        self.instructions: list[Instruction] = []
        self.known: dict[tuple[Any, ...], int] = {}
        self.emitted: dict[Instruction, int] = {}
        self.products: dict[int, tuple[Value, Value]] = {}

    def program(self, closed: Any) -> Program:
        value = self.inline(closed, [Register(0, (self.dim,))])[0]
        output = self.read(value)
        needed = {output}
        for at in range(len(self.instructions), 0, -1):
            if at in needed:
                needed.update(self.instructions[at - 1].inputs)
        # While lowering, constants have the numbers -1, -2, ...: which of them are needed is known only now.
        kept = [0, *sorted((at for at in needed if at < 0), reverse=True), *sorted(at for at in needed if at > 0)]
        final = {at: register for register, at in enumerate(kept)}
        constants = tuple(self.constants[-at - 1] for at in kept if at < 0)
        instructions = tuple(
            Instruction(one.operation, tuple(final[at] for at in one.inputs), one.parameters)
            for one in (self.instructions[at - 1] for at in kept if at > 0)
        )
        return Program(self.dim, constants, instructions, final[output])

    def inline(self, closed: Any, arguments: Sequence[Value]) -> list[Value]:
        """Lower a jaxpr in place and return its values."""
        jaxpr, constants = (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())
        values: dict[Any, Value] = {}
        values.update(zip(jaxpr.constvars, map(Known, constants), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def value(atom: Any) -> Value:
            return Known(atom.val) if hasattr(atom, "val") else values[atom]

        for equation in _live(jaxpr):
            results = self.equation(equation, [value(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Value]) -> list[Value]:
        name, parameters = equation.primitive.name, equation.params
        if name in INLINED:
            return self.inline(parameters[INLINED[name]], inputs)
        if all(isinstance(one, Known) for one in inputs):
            results = equation.primitive.bind(*[one.array for one in inputs if isinstance(one, Known)], **parameters)
            return [Known(one) for one in (results if equation.primitive.multiple_results else [results])]
        for out in equation.outvars:
            if out.aval.dtype.kind == "f" and out.aval.dtype != np.float64:
                raise UnsupportedFunction(f"the primitive {name!r} computes in {out.aval.dtype}: {_WAY_OUT}")
        shape = tuple(equation.outvars[0].aval.shape)
        if name in _IDENTITIES:
            return list(inputs)
        if name in _ELEMENTWISE and not (name in {"div", "pow"} and _is_integer(equation.outvars[0])):
            return [self.elementwise(name, inputs)]
        if name in _MOVES:
            return self.moved(equation, inputs)
        if name in _REDUCTIONS:
            return [self.reduced(equation, inputs[0])]
        if name in _SCANS:
            axis, backwards = equation.params["axis"], equation.params["reverse"]
            return [self.emit(name, [self.full(inputs[0], equation.invars[0])], shape, axis, backwards)]
        rule: Callable[[Any, list[Value]], Value | None] | None = getattr(self, f"on_{name}", None)
        result = rule(equation, inputs) if rule is not None else None
        if result is None:
            raise UnsupportedFunction(f"the primitive {name!r} has no NumPy counterpart here: {_WAY_OUT}")
        return [result]

    def read(self, value: Value) -> int:
        """Return the register of a value; a known one becomes a constant, each different one once."""
        if isinstance(value, Register):
            return value.at
        array = value.array.astype(np.float64) if value.array.dtype.kind == "f" else value.array
        array = np.ascontiguousarray(array) if array.ndim else array
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.constants.append(array)
            self.known[key] = -len(self.constants)
        return self.known[key]

    def emit(self, operation: str, inputs: Sequence[Value], shape: Sequence[int], *parameters: int) -> Register:
        """Append an instruction and return what it gives."""
        instruction = Instruction(operation, tuple(map(self.read, inputs)), tuple(map(int, parameters)))
        if instruction not in self.emitted:
            self.instructions.append(instruction)
            self.emitted[instruction] = len(self.instructions)
        return Register(self.emitted[instruction], tuple(shape))

    def full(self, value: Value, atom: Any) -> Value:
        """Return the value with every axis as long as JAX has it."""
        shape = tuple(atom.aval.shape)
        if isinstance(value, Known) or value.shape == shape:
            return value
        kind = atom.aval.dtype.kind
        ones = np.ones(shape, bool if kind == "b" else np.float64 if kind == "f" else np.int64)
        return self.emit("mul", [value, Known(ones)], shape)

    def elementwise(self, name: str, inputs: list[Value]) -> Register:
        operands = [Known(_shrunk(one.array)) if isinstance(one, Known) else one for one in inputs]
        shapes = [one.array.shape if isinstance(one, Known) else one.shape for one in operands]
        result = self.emit(name, operands, np.broadcast_shapes(*shapes))
        if name in {"mul", "square"} and len(result.shape) == 1 and set(shapes) == {result.shape}:
            self.products[result.at] = (operands[0], operands[-1])
        return result

    def reduced(self, equation: Any, value: Value) -> Value:
        name, axes, shape = equation.primitive.name, equation.params["axes"], equation.outvars[0].aval.shape
        if not axes:
            return value
        whole = self.full(value, equation.invars[0])
        if name == "reduce_sum" and isinstance(whole, Register) and whole.at in self.products:
            return self.emit("dot", self.products[whole.at], shape)  # one call instead of two
        return self.emit(name, [whole], shape, *axes)

    def moved(self, equation: Any, inputs: list[Value]) -> list[Value]:
        """Lower a primitive that only moves numbers about, by moving their positions about here and now."""
        data = _MOVES[equation.primitive.name] or tuple(range(len(inputs)))
        if not all(isinstance(one, Known) for at, one in enumerate(inputs) if at not in data):
            raise UnsupportedFunction(
                f"the primitive {equation.primitive.name!r} picks places that depend on the vector: {_WAY_OUT}"
            )
        operands: list[Any] = [one.array if isinstance(one, Known) else None for one in inputs]
        size = 0
        for at in data:
            shape = equation.invars[at].aval.shape
            operands[at] = np.arange(size, size + math.prod(shape)).reshape(shape)
            size += operands[at].size
        results = equation.primitive.bind(*operands, **equation.params)
        full = [self.full(inputs[at], equation.invars[at]) for at in data]
        flat = [self.reshaped(one, (-1,)) for one in full] if len(full) > 1 else full
        source = self.emit("concatenate", flat, (size,), 0) if len(flat) > 1 else flat[0]
        values: list[Value] = []
        for result in results if equation.primitive.multiple_results else [results]:
            positions = np.asarray(result)
            if positions.size and not (positions.min() >= 0 and size > positions.max()):
                raise UnsupportedFunction(f"{equation.primitive.name!r} reads outside of the array: {_WAY_OUT}")
            values.append(self.emit("take", [source, Known(positions)], positions.shape))
        return values

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        if isinstance(value, Known):
            return Known(value.array.reshape(shape))
        sizes = tuple(shape) if -1 not in shape else (math.prod(value.shape),)
        if value.shape == sizes:
            return value
        if not sizes:
            return self.emit("pick", [value], (), *[0] * len(value.shape))
        return self.emit("reshape", [value], sizes, *sizes)

    def transposed(self, value: Value, order: Sequence[int]) -> Value:
        if list(order) == sorted(order):
            return value
        if isinstance(value, Known):
            return Known(value.array.transpose(order))
        return self.emit("transpose", [value], [value.shape[axis] for axis in order], *order)

    def on_reshape(self, equation: Any, inputs: list[Value]) -> Value | None:
        shape = tuple(equation.outvars[0].aval.shape)
        if len(inputs) > 1:
            return None
        if isinstance(inputs[0], Register) and inputs[0].shape == () and math.prod(shape) == 1:
            return inputs[0]
        return self.reshaped(self.full(inputs[0], equation.invars[0]), shape)

    on_squeeze = on_expand_dims = on_reshape

    def on_broadcast_in_dim(self, equation: Any, inputs: list[Value]) -> Value | None:
        value, shape, axes = inputs[0], equation.params["shape"], equation.params["broadcast_dimensions"]
        if len(inputs) > 1 or isinstance(value, Known):
            return None
        if value.shape == ():
            return value
        sizes = [1] * len(shape)
        for axis, size in zip(axes, equation.invars[0].aval.shape, strict=True):
            sizes[axis] = size
        return self.reshaped(self.full(value, equation.invars[0]), sizes)

    def on_transpose(self, equation: Any, inputs: list[Value]) -> Value | None:
        return self.transposed(self.full(inputs[0], equation.invars[0]), equation.params["permutation"])

    def on_slice(self, equation: Any, inputs: list[Value]) -> Value | None:
        starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
        strides = equation.params["strides"] or [1] * len(starts)
        key = [number for one in zip(starts, limits, strides, strict=True) for number in one]
        return self.emit("slice", [self.full(inputs[0], equation.invars[0])], equation.outvars[0].aval.shape, *key)

    def on_concatenate(self, equation: Any, inputs: list[Value]) -> Value | None:
        parts = [self.full(one, atom) for one, atom in zip(inputs, equation.invars, strict=True)]
        return self.emit("concatenate", parts, equation.outvars[0].aval.shape, equation.params["dimension"])

    def on_integer_pow(self, equation: Any, inputs: list[Value]) -> Value | None:
        exponent = equation.params["y"]
        if exponent == 2:
            return self.elementwise("square", inputs)
        if exponent == -1:
            return self.elementwise("reciprocal", inputs)
        if exponent == 3:
            return self.elementwise("mul", [self.elementwise("square", inputs), inputs[0]])
        return self.elementwise("pow", [inputs[0], Known(np.float64(exponent))])

    def on_add_any(self, _: Any, inputs: list[Value]) -> Value | None:
        return self.elementwise("add", inputs)

    def on_clamp(self, _: Any, inputs: list[Value]) -> Value | None:
        low, value, high = inputs
        return self.elementwise("min", [self.elementwise("max", [low, value]), high])

    def on_round(self, equation: Any, inputs: list[Value]) -> Value | None:
        return self.elementwise("round", inputs) if int(equation.params["rounding_method"]) == 1 else None

    def on_convert_element_type(self, equation: Any, inputs: list[Value]) -> Value | None:
        before, after = equation.invars[0].aval.dtype.kind, equation.outvars[0].aval.dtype.kind
        if before == after:
            return inputs[0]
        if after == "b":
            return self.elementwise("ne", [inputs[0], Known(0)])
        return self.elementwise("to_float" if after == "f" else "to_int", inputs)

    def on_argmax(self, equation: Any, inputs: list[Value]) -> Value | None:
        (axis,) = equation.params["axes"]
        shape = equation.outvars[0].aval.shape
        return self.emit(equation.primitive.name, [self.full(inputs[0], equation.invars[0])], shape, axis)

    on_argmin = on_argmax

    def on_sort(self, equation: Any, inputs: list[Value]) -> Value | None:
        shape = equation.outvars[0].aval.shape
        if len(inputs) > 1:
            return None
        return self.emit("sort", [self.full(inputs[0], equation.invars[0])], shape, equation.params["dimension"])

    def on_dot_general(self, equation: Any, inputs: list[Value]) -> Value | None:
        ((left_sum, right_sum), (left_batch, right_batch)) = equation.params["dimension_numbers"]
        left, right = (self.full(one, atom) for one, atom in zip(inputs, equation.invars, strict=True))
        left_shape, right_shape = (tuple(atom.aval.shape) for atom in equation.invars)
        shape = equation.outvars[0].aval.shape
        if not left_batch and list(left_sum) == [len(left_shape) - 1]:
            if list(right_sum) == [max(len(right_shape) - 2, 0)]:
                return self.emit("dot", [left, right], shape)
            if len(right_shape) == 2 and list(right_sum) == [1]:
                return self.emit("dot", [left, self.transposed(right, (1, 0))], shape)
        left_free = [axis for axis in range(len(left_shape)) if axis not in {*left_sum, *left_batch}]
        right_free = [axis for axis in range(len(right_shape)) if axis not in {*right_sum, *right_batch}]
        batch = [left_shape[axis] for axis in left_batch]
        summed = math.prod(left_shape[axis] for axis in left_sum)
        rows, columns = (
            math.prod(left_shape[axis] for axis in left_free),
            math.prod(right_shape[axis] for axis in right_free),
        )
        a = self.reshaped(self.transposed(left, [*left_batch, *left_free, *left_sum]), (*batch, rows, summed))
        b = self.reshaped(self.transposed(right, [*right_batch, *right_sum, *right_free]), (*batch, summed, columns))
        return self.reshaped(self.emit("matmul", [a, b], (*batch, rows, columns)), shape)


def _live(jaxpr: Any) -> list[Any]:
    """Return the equations that the results depend on, in order."""
    needed, live = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}, []
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            live.append(equation)
            needed.update(atom for atom in equation.invars if not hasattr(atom, "val"))
    return live[::-1]


def _is_integer(atom: Any) -> bool:
    return bool(atom.aval.dtype.kind in "iu")


def _shrunk(array: NDArray[Any]) -> NDArray[Any]:
    """Return one number in place of an array of equal ones: NumPy broadcasts it again."""
    if array.ndim and array.size and (array == array.flat[0]).all():
        return array.reshape(-1)[0]  # type: ignore[no-any-return]
    return array
