"""A small neural network of the fleet's mean resources, such as the time that the next round will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from heflwr.automon.fleet.measure import Measure, box_of, unchanged
from heflwr.automon.function import Function
from heflwr.automon.program import Instruction, Program
from heflwr.automon.zones.zone import Floats

Activation = Literal["tanh", "relu"]
Layers = list[tuple[Floats, Floats]]


def predicted_round_time(
    layers: Sequence[tuple[ArrayLike, ArrayLike]],
    metrics: Sequence[str] = ("cpu_usage", "memory_usage"),
    *,
    activation: Activation = "tanh",
    unit: str = "seconds",
    bound: float | None = None,
) -> Measure:
    """What a trained network makes of the fleet's mean resources: x = v, f = network(x), in the unit it was trained on.

    Its zones are guaranteed, by affine bounds.

    Args:
        layers: Weights (inputs, outputs) and biases (outputs,) of each layer: h @ W + b, with the activation between
            two layers; the last has one output. Whatever scales the inputs belongs to the first layer.
        metrics: The inputs, in order.
        activation: Between layers.
        unit: Of the output.
        bound: Likewise.
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation must be 'tanh' or 'relu', got {activation!r}")
    network = _checked(layers, len(metrics))
    program = _program(network, len(metrics), activation)

    def gradient(x: Floats) -> Floats:
        return _derivatives(network, x, activation)[0]

    def hessian(x: Floats) -> Floats:
        return _derivatives(network, x, activation)[1]

    function = Function(program, len(metrics), gradient=gradient, hessian=hessian, numpy=program)
    return Measure("predicted round time", unit, tuple(metrics), unchanged, function, box_of(*metrics), bound)


def _checked(layers: Sequence[tuple[ArrayLike, ArrayLike]], inputs: int) -> Layers:
    network: Layers = []
    for number, (weights, biases) in enumerate(layers):
        w, b = np.array(weights, dtype=np.float64), np.array(biases, dtype=np.float64)
        if w.ndim != 2 or w.shape[0] != inputs or b.shape != (w.shape[1],):
            raise ValueError(
                f"layer {number} must have weights ({inputs}, outputs) and biases (outputs,), got {w.shape} and "
                f"{b.shape}"
            )
        if not (np.isfinite(w).all() and np.isfinite(b).all()):
            raise ValueError(f"layer {number} must have finite weights and biases")
        network.append((w, b))
        inputs = w.shape[1]
    if not network or inputs != 1:
        raise ValueError(f"layers must be at least one and end in one output, got {len(network)} with {inputs}")
    return network


def _program(network: Layers, inputs: int, activation: Activation) -> Program:
    constants: list[Any] = [np.array(0.0)] + [array for layer in network for array in layer]
    instructions: list[Instruction] = []

    def emit(operation: str, *registers: int, parameters: tuple[int, ...] = ()) -> int:
        instructions.append(Instruction(operation, registers, parameters))
        return len(constants) + len(instructions)

    at = 0
    for number in range(len(network)):
        at = emit("add", emit("dot", at, 2 + 2 * number), 3 + 2 * number)
        if number < len(network) - 1:
            at = emit("tanh", at) if activation == "tanh" else emit("max", at, 1)
    output = emit("pick", at, parameters=(0,))
    return Program(inputs, tuple(constants), tuple(instructions), output)


def _derivatives(network: Layers, x: Floats, activation: Activation) -> tuple[Floats, Floats]:
    """Gradient (d,) and Hessian (d, d) at x, layer by layer, forwards; those of a relu leave its kink out."""
    values, slopes = x, np.eye(len(x))
    bends = np.zeros((len(x), len(x), len(x)))
    for number, (weights, biases) in enumerate(network):
        values, slopes, bends = values @ weights + biases, weights.T @ slopes, np.tensordot(weights.T, bends, axes=1)
        if number < len(network) - 1:
            if activation == "tanh":
                values = np.tanh(values)
                first, second = 1 - values**2, -2 * values * (1 - values**2)
            else:
                first, second = (values > 0).astype(np.float64), np.zeros_like(values)
                values = np.maximum(values, 0.0)
            outer = slopes[:, :, None] * slopes[:, None, :]
            bends = first[:, None, None] * bends + second[:, None, None] * outer
            slopes = first[:, None] * slopes
    return slopes[0], bends[0]
