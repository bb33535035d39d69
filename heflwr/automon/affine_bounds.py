"""Affine functions above and below a program on a box: sound, and close where the box is small.

The program becomes a graph of linear maps, functions of one number and products. Each of the latter two is replaced by
straight lines above and below it on the range of what it is applied to, and the linear whole is followed back to the
input (CROWN: Zhang et al., NeurIPS 2018; products: McCormick, Math. Programming 1976). Proved in real arithmetic; the
rounding of float64 is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.program import OPERATIONS, Instruction, Program
from heflwr.automon.relaxations import CURVES, Line, lines

Floats = NDArray[np.float64]

LARGEST = 4096
"""Numbers in one value; a linear map between two such takes 128 MiB."""

_LINEAR = {
    "add", "sub", "neg", "concatenate", "pick", "reduce_sum", "reshape", "slice", "take", "transpose", "cumsum",
    "to_float", "mul", "dot", "matmul", "div",
}  # fmt: skip
"""Linear in what is not constant, where only one (of mul, dot, matmul), the first (of div) or any of them is not."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """below . x + below_offset <= f(x) <= above . x + above_offset for every x of the box."""

    below: Floats
    below_offset: float
    above: Floats
    above_offset: float

    @property
    def is_finite(self) -> bool:
        """Whether there are bounds at all: f may have none on a box."""
        return bool(np.isfinite([*self.below, self.below_offset, *self.above, self.above_offset]).all())


@dataclass(frozen=True, eq=False)
class Node:
    """A value as a vector: a sum of linear maps of other nodes, a curve of one, or the product of two."""

    size: int
    inputs: tuple[int, ...] = ()
    maps: tuple[Floats, ...] = ()
    offset: Floats = field(default_factory=lambda: np.zeros(0))
    curve: str = ""


class AffineBounds:
    """The bounds of one program on any box.

    Raises:
        UnsupportedFunction: It has an operation without bounds.
    """

    def __init__(self, program: Program) -> None:
        self._nodes: list[Node] = [Node(program.dim)]
        # For every register the constant that it is, or its node and its shape.
        self._registers: list[Any] = [(0, (program.dim,)), *program.constants]
        with np.errstate(all="ignore"):
            for instruction in program.instructions:
                self._registers.append(self._lowered(instruction))
        output = self._registers[program.output]
        self._output = output[0] if isinstance(output, tuple) else self._add_constant(output)

    def on(self, lower: Floats, upper: Floats) -> Bounds:
        """Return the bounds on the box from lower to upper, shapes (dim,), both finite."""
        centre, reach = 0.5 * (lower + upper), 0.5 * (upper - lower)
        found: dict[int, tuple[Line, Line]] = {}
        ranges: dict[int, tuple[Floats, Floats]] = {0: (lower, upper)}

        def range_of(at: int) -> tuple[Floats, Floats]:
            if at not in ranges:
                slopes, offsets = self._both(at, found)
                least = slopes @ centre + offsets - np.abs(slopes) @ reach
                ranges[at] = (least[: len(least) // 2], -least[len(least) // 2 :])
            return ranges[at]

        with np.errstate(all="ignore"):
            for at, node in enumerate(self._nodes):
                if node.curve and node.curve != "product":
                    found[at] = lines(CURVES[node.curve], *range_of(node.inputs[0]))
                elif node.curve:
                    found[at] = self._product(*(range_of(one) for one in node.inputs))
            slopes, offsets = self._both(self._output, found)
        return Bounds(slopes[0], float(offsets[0]), -slopes[1], -float(offsets[1]))

    @staticmethod
    def _product(left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> tuple[Line, Line]:
        """Lines for u v: v0 u + u0 v - u0 v0 is off by a quarter of the widths' product at most; u0, v0 the middles."""
        middles = 0.5 * (left[0] + left[1]), 0.5 * (right[0] + right[1])
        slack = 0.25 * (left[1] - left[0]) * (right[1] - right[0])
        slopes = np.stack([middles[1], middles[0]])
        return (slopes, -middles[0] * middles[1] - slack), (slopes, -middles[0] * middles[1] + slack)

    def _both(self, at: int, found: dict[int, tuple[Line, Line]]) -> tuple[Floats, Floats]:
        """Return affine functions of x below the node and then below less the node: slopes (2 size, dim), offsets."""
        node = self._nodes[at]
        if node.curve or not node.inputs:
            eye = np.eye(node.size)
            return self._back(at, {at: np.concatenate([eye, -eye])}, np.zeros(2 * node.size), found)
        pending: dict[int, Floats] = {}
        for one, part in zip(node.inputs, node.maps, strict=True):
            rows = np.concatenate([part, -part])
            pending[one] = pending[one] + rows if one in pending else rows
        return self._back(at - 1, pending, np.concatenate([node.offset, -node.offset]), found)

    def _back(
        self, start: int, pending: dict[int, Floats], offsets: Floats, found: dict[int, tuple[Line, Line]]
    ) -> tuple[Floats, Floats]:
        """Return affine functions of x below offsets + sum of pending[k] @ node k: slopes (m, dim), offsets (m,)."""
        for at in range(start, 0, -1):
            weights = pending.pop(at, None)
            if weights is None:
                continue
            node = self._nodes[at]
            parts: list[Floats]
            if not node.curve:
                parts = [weights @ one for one in node.maps]
                offsets = offsets + weights @ node.offset
            else:
                (low, low_offset), (high, high_offset) = found[at]
                positive, negative = np.maximum(weights, 0.0), np.minimum(weights, 0.0)
                offsets = offsets + positive @ low_offset + negative @ high_offset
                slopes = zip(np.atleast_2d(low), np.atleast_2d(high), strict=True)
                parts = [positive * below + negative * above for below, above in slopes]
            for one, part in zip(node.inputs, parts, strict=True):
                pending[one] = pending[one] + part if one in pending else part
        return pending.get(0, np.zeros((len(offsets), self._nodes[0].size))), offsets

    # From the program to the graph

    def _lowered(self, instruction: Instruction) -> Any:
        values = [self._registers[at] for at in instruction.inputs]
        call, name = OPERATIONS[instruction.operation](instruction.parameters), instruction.operation
        variable = [at for at, value in enumerate(values) if isinstance(value, tuple)]
        if not variable:
            return call(*values)
        if name in CURVES:
            return self._curved(name, values[0])
        if name in {"mul", "dot", "matmul"} and len(variable) == 2:
            return self._multiplied(name, call, *values)
        if name == "div" and 1 in variable:
            inverse = self._curved("reciprocal", values[1])
            times = OPERATIONS["mul"](())
            if len(variable) == 2:
                return self._multiplied("mul", times, values[0], inverse)
            return self._linear(times, [values[0], inverse])
        if name == "cos":
            shifted = self._linear(np.add, [values[0], np.float64(np.pi / 2)])
            return self._curved("sin", shifted)
        if name in {"max", "min"}:
            # max(u, v) = v + relu(u - v), min(u, v) = v - relu(v - u)
            first, second = (0, 1) if name == "max" else (1, 0)
            excess = self._curved("relu", self._linear(np.subtract, [values[first], values[second]]))
            return self._linear(np.add if name == "max" else np.subtract, [values[1], excess])
        if name == "pow" and variable == [0] and np.ndim(values[1]) == 0 and float(values[1]) > 1:
            return self._whole_power(values[0], float(values[1]))
        if name in _LINEAR:
            return self._linear(call, values)
        raise UnsupportedFunction(f"no affine bounds are known for {name!r}")

    def _whole_power(self, value: Any, exponent: float) -> Any:
        if not exponent.is_integer() or exponent > 16:
            raise UnsupportedFunction(f"no affine bounds are known for a power of {exponent}")
        result = value if int(exponent) % 2 else None
        square = self._curved("square", value)
        for _ in range(int(exponent) // 2):
            result = square if result is None else self._multiplied("mul", np.multiply, result, square)
        return result

    def _curved(self, name: str, value: Any) -> Any:
        at, shape = value
        self._nodes.append(Node(self._nodes[at].size, (at,), curve=name))
        return len(self._nodes) - 1, shape

    def _multiplied(self, name: str, call: Callable[..., Any], left: Any, right: Any) -> Any:
        if name != "mul":
            if len(left[1]) != 1 or len(right[1]) != 1:
                raise UnsupportedFunction("no affine bounds are known for a product of two matrices that vary")
            return self._linear(np.sum, [self._multiplied("mul", np.multiply, left, right)])
        if left[0] == right[0]:
            return self._curved("square", left)
        shape = np.broadcast_shapes(left[1], right[1])
        pair = [
            one if one[1] == shape else self._linear(lambda a: np.broadcast_to(a, shape), [one])
            for one in (left, right)
        ]
        self._nodes.append(Node(int(np.prod(shape)), (pair[0][0], pair[1][0]), curve="product"))
        return len(self._nodes) - 1, shape

    def _linear(self, call: Callable[..., Any], values: Sequence[Any]) -> Any:
        """A node of what call makes of the values: linear in those that are not constant, as a matrix each."""
        zeros = [np.zeros(value[1]) if isinstance(value, tuple) else value for value in values]
        offset = np.asarray(call(*zeros), dtype=np.float64)
        inputs, maps, total = list[int](), list[Floats](), offset.ravel()
        for at, value in enumerate(values):
            if not isinstance(value, tuple):
                continue
            size = self._nodes[value[0]].size
            if max(size, offset.size) > LARGEST:
                raise UnsupportedFunction(f"affine bounds are for values of up to {LARGEST} numbers, got {size}")
            columns = np.empty((offset.size, size))
            for column in range(size):
                unit = np.zeros(size)
                unit[column] = 1.0
                operands = [*zeros[:at], unit.reshape(value[1]), *zeros[at + 1 :]]
                columns[:, column] = (np.asarray(call(*operands), dtype=np.float64) - offset).ravel()
            node = self._nodes[value[0]]
            if node.maps:  # two linear maps in a row are one
                inputs += node.inputs
                maps += [_chained(columns, one) for one in node.maps]
                total = total + columns @ node.offset
            else:
                inputs.append(value[0])
                maps.append(columns)
        self._nodes.append(Node(offset.size, tuple(inputs), tuple(maps), total))
        return len(self._nodes) - 1, offset.shape

    def _add_constant(self, value: Any) -> int:
        self._nodes.append(Node(1, (), (), np.asarray(value, dtype=np.float64).reshape(1)))
        return len(self._nodes) - 1


def _chained(left: Floats, right: Floats) -> Floats:
    """The product of two maps; that with a diagonal one, such as of adding a constant, is quick."""
    diagonal = left.diagonal()
    if left.shape[0] == left.shape[1] and np.count_nonzero(left) == np.count_nonzero(diagonal):
        return diagonal[:, None] * right
    product: Floats = left @ right
    return product
