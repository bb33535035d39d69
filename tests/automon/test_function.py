"""The monitored function: values, derivatives, what its jaxpr proves, and its form without JAX."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from heflwr.automon.box import Box
from heflwr.automon.errors import BackendUnavailable, MalformedMessage, UnsupportedFunction
from heflwr.automon.function import Function
from heflwr.automon.program import Instruction, Program

Vector = NDArray[np.float64]
DIM = 6
MATRIX = np.random.default_rng(0).normal(size=(DIM, DIM))
NARROW = np.random.default_rng(1).normal(size=(DIM, 3)).astype(np.float32)


def kl(x: Any) -> Any:
    p, q = x[:3] + 0.1, x[3:] + 0.1
    return jnp.sum(p * jnp.log(p / q))


def network(x: Any) -> Any:
    return (jnp.tanh(x @ NARROW + 0.5) @ np.ones((3, 1)))[0]


SMOOTH: dict[str, Callable[[Any], Any]] = {
    "kl": kl,
    "network": network,
    "logsumexp": jax.nn.logsumexp,
    "softmax": lambda x: jax.nn.softmax(x) @ np.arange(6.0),
    "variance": lambda x: jnp.var(x),
    "trigonometry": lambda x: jnp.sum(jnp.sin(x) * jnp.cos(2 * x) + jnp.arctan(x)),
    "powers": lambda x: jnp.sum(x**3 + x**5 / (1 + x**2) + (1 + x**2) ** -1.5 + 2.0**x),
    "gelu": lambda x: jnp.sum(jax.nn.gelu(x, approximate=False) + jax.nn.sigmoid(x) + jax.nn.silu(x)),
    "quadratic": lambda x: x @ MATRIX @ x,
    "einsum": lambda x: jnp.einsum("ij,jk,ik->", jnp.outer(x, x), MATRIX, jnp.stack([x] * 6)),
    "batches": lambda x: jnp.sum(jnp.einsum("bij,bjk->bik", x.reshape(2, 1, 3), MATRIX[:, :4].reshape(2, 3, 4)) ** 2),
    "picks": lambda x: x[np.array([1, 5, 3])] @ x[::2] + x[-1] * x[::-1][2] + x.at[2].set(7.0).sum(),
    "shapes": lambda x: jnp.concatenate([x, 2 * x]).reshape(3, 4).T[1] @ jnp.pad(x[:2], (0, 1), constant_values=3.0),
    "cumulated": lambda x: jnp.cumsum(x) @ jnp.cumsum(x[::-1]),
}
KINKED: dict[str, Callable[[Any], Any]] = {
    "abs": lambda x: jnp.abs(x[0]) - jnp.abs(x[1]),
    "relu": lambda x: jnp.sum(jax.nn.relu(x @ NARROW)),
    "where": lambda x: jnp.sum(jnp.where(x > 0, x, 0.1 * x)),
    "max": lambda x: jnp.max(x) - jnp.min(x) + jnp.clip(x, -0.5, 0.5).sum(),
    "median": lambda x: jnp.sort(x)[3] + jnp.argmax(x),
    "switch": lambda x: jnp.sign(x[0]) * x[1] + jnp.floor(x[2]) + jnp.round(x[3]) + jnp.any(x > 1),
}
ALL = SMOOTH | KINKED
FUNCTIONS = {name: Function(fn, DIM) for name, fn in ALL.items()}
VECTORS = arrays(np.float64, DIM, elements=st.floats(0.0, 3.0, width=32))


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=40)  # the first example compiles
@given(data=st.data())
def test_the_numpy_form_agrees_with_jax(name: str, data: st.DataObject) -> None:
    """Its value is that of JAX, in float64, also after a journey as arrays."""
    x = data.draw(VECTORS)
    function = FUNCTIONS[name]
    expected = function.value(x)
    assert expected == pytest.approx(function.numpy(x), rel=1e-12, abs=1e-12)
    assert function.numpy(x) == Program.from_arrays(function.program.to_arrays())(x)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_agree_with_differences_of_the_numpy_form(name: str) -> None:
    """Gradient and Hessian are those of the value; products, batches and curvatures are those of the Hessian."""
    function, rng = FUNCTIONS[name], np.random.default_rng(2)
    x, v = rng.uniform(0.3, 1.5, DIM), rng.normal(size=DIM)
    step = 1e-5
    ahead, behind = x + step * v, x - step * v
    slope = (function.numpy(ahead) - function.numpy(behind)) / (2 * step)
    assert slope == pytest.approx(function.gradient(x) @ v, rel=1e-5, abs=1e-7)
    bend = (function.gradient(ahead) - function.gradient(behind)) / (2 * step)
    hessian = function.hessian(x)
    np.testing.assert_allclose(hessian @ v, bend, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(function.hvp(x, v), hessian @ v, rtol=1e-9, atol=1e-12)
    rows, directions = np.stack([x, ahead]), np.stack([v, v])
    np.testing.assert_allclose(function.hessians(rows)[0], hessian, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(function.hvps(rows, directions)[0], hessian @ v, rtol=1e-9, atol=1e-12)
    curvatures, slopes = function.curvatures(np.stack([x, ahead, behind]), np.stack([v, v, v]))
    assert v @ hessian @ v == pytest.approx(curvatures[0])
    assert (curvatures[1] - curvatures[2]) / (2 * step) == pytest.approx(slopes[0] @ v, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 3, 8, 9])
def test_values_of_many_rows_are_the_value_of_each(rows: int) -> None:
    """A batch of any size, an empty one too."""
    function = Function(kl, DIM)
    points = np.random.default_rng(rows).uniform(0, 1, (rows, DIM))
    np.testing.assert_allclose(function.values(points), np.array([function.value(x) for x in points]), rtol=1e-14)


def test_everything_is_float64_and_the_switch_of_others_stays_as_it_was() -> None:
    """A difference that float32 cannot hold is there, and JAX outside computes in float32 as before."""
    function = Function(lambda x: x[0] + x[1], 2)
    assert function.value([1.0, 1e-12]) == 1.0 + 1e-12
    assert function.gradient([1.0, 2.0]).dtype == np.float64
    assert jnp.asarray(1.0).dtype == jnp.float32


@pytest.mark.parametrize(
    ("fn", "is_constant", "is_linear"),
    [
        (lambda x: x[:3] @ x[3:], True, False),
        (lambda x: x @ MATRIX @ x + x.sum() - 3, True, False),
        (lambda x: jnp.var(x), True, False),
        (lambda x: (x**2).sum() - x[0] ** 2.0, True, False),
        (lambda x: x @ NARROW @ np.ones(3) / 2 + 1, True, True),
        (lambda x: jnp.mean(x[::2]) + np.tanh(3.0), True, True),
        (lambda x: jnp.sum(x**3), False, False),
        (lambda x: x[0] / x[1], False, False),
        (kl, False, False),
        (network, False, False),
        (KINKED["abs"], False, False),
        (KINKED["relu"], False, False),
        (KINKED["switch"], False, False),
        (lambda x: x[0] * jax.lax.stop_gradient(x[1]), False, False),
        (lambda x: x[jnp.argmax(x)], False, False),
        (lambda x: jnp.where(x[0] > 5, x[1] ** 3, 0.0), False, False),
    ],
)
def test_a_constant_hessian_is_proved_by_the_degree(
    fn: Callable[[Any], Any], is_constant: bool, is_linear: bool
) -> None:
    """Polynomials of degree two and one are recognised; what is flat almost everywhere, or where tried, is not."""
    function = Function(fn, DIM)
    assert is_constant == function.is_constant_hessian
    assert is_linear == function.is_linear


@pytest.mark.parametrize("name", ALL)
def test_kinks_are_seen(name: str) -> None:
    """A function with a kink is not smooth although its Hessian is; logsumexp is, although it takes a maximum."""
    assert (name in SMOOTH) == FUNCTIONS[name].is_smooth


def test_a_program_says_nothing_of_points_where_there_is_no_value() -> None:
    """Outside of its domain a function is NaN or infinite, without a warning."""
    function = Function(lambda x: jnp.log(x[0]) + x[1], 2)
    assert np.isnan(function.numpy(np.array([-1.0, 0.0])))
    assert function.numpy(np.array([0.0, 0.0])) == -np.inf


NODE = """
import sys
import numpy as np
from heflwr.automon.box import Box
from heflwr.automon.function import Function
from heflwr.automon.program import Program

with np.load(sys.argv[1]) as arrays:
    program = Program.from_arrays(arrays)
assert abs(program(np.full(6, 0.25))) < 1e-12
assert Function(lambda x: x[0], 2, Box([0.0, 0.0], [1.0, 1.0]), numpy=lambda x: 2 * x[0]).numpy(np.ones(2)) == 2.0
given = Function(lambda x: x[0] ** 2, 1, gradient=lambda x: 2 * x, hessian=[[2.0]])
assert given.numpy(np.ones(1)) == 1.0 and given.is_constant_hessian
print(sorted({"jax", "autograd", "scipy"} & set(sys.modules)))
"""


def test_a_node_runs_a_program_without_jax(tmp_path: Any) -> None:
    """A process that loads a program, or a function with numpy= or given derivatives, imports neither JAX nor SciPy."""
    np.savez(tmp_path / "f.npz", **Function(kl, DIM).program.to_arrays())
    result = subprocess.run(
        [sys.executable, "-c", NODE, str(tmp_path / "f.npz")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("fn", "primitive"),
    [
        (lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * x[0], 1.0), "scan"),
        (lambda x: jnp.linalg.det(x[:4].reshape(2, 2) @ np.eye(2)) + jnp.linalg.eigvalsh(jnp.outer(x, x))[0], "eigh"),
        (lambda x: x[jnp.argmax(x)], "depend on the vector"),
        (lambda x: jnp.sum(x.astype(np.float32)), "float32"),
    ],
)
def test_what_numpy_cannot_follow_is_named_with_the_way_out(fn: Callable[[Any], Any], primitive: str) -> None:
    """The error says which primitive it is, and that numpy= helps; with it, all is well."""
    with pytest.raises(UnsupportedFunction, match=rf"{primitive}.*give numpy="):
        Function(fn, DIM).numpy(np.ones(DIM))
    assert Function(fn, DIM, numpy=lambda x: x[0]).numpy(np.ones(DIM)) == 1.0


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (lambda x: np.sum(np.exp(x)), "jax.numpy"),
        (lambda x: x[0] if x[0] > 0 else x[1], "branches"),
        (lambda x: x, r"one scalar, got shapes \[\(6,\)\]"),
    ],
)
def test_what_jax_cannot_trace_is_said_at_the_first_question(fn: Callable[[Any], Any], reason: str) -> None:
    """NumPy calls, branches on values and vectors for a value raise UnsupportedFunction whatever is asked first."""
    function = Function(fn, DIM)
    questions: list[Callable[[], object]] = [
        lambda: function.value(np.ones(DIM)),
        lambda: function.hessian(np.ones(DIM)),
        lambda: function.numpy,
        lambda: function.is_linear,
    ]
    for ask in questions:
        with pytest.raises(UnsupportedFunction, match=reason):
            ask()


def test_given_derivatives_take_the_place_of_a_backend() -> None:
    """A NumPy function with its gradient and Hessian answers all that a traced one does."""
    given = Function(
        lambda x: np.sum(x**3), 2, gradient=lambda x: 3 * x**2, hessian=lambda x: np.diag(6 * np.asarray(x))
    )
    x, v = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    assert given.value(x) == given.numpy(x) == 9.0
    np.testing.assert_array_equal(given.values([x, x]), [9.0, 9.0])
    np.testing.assert_array_equal(given.gradient(x), [3.0, 12.0])
    np.testing.assert_array_equal(given.hvp(x, v), [6.0, 12.0])
    np.testing.assert_array_equal(given.hessians([x])[0], np.diag([6.0, 12.0]))
    curvatures, slopes = given.curvatures([x], [v])
    assert curvatures[0] == 18.0
    np.testing.assert_allclose(slopes[0], [6.0, 6.0], rtol=1e-8)
    assert not given.is_constant_hessian
    with pytest.raises(UnsupportedFunction, match="give the nodes fn or numpy="):
        _ = given.program


def test_a_given_hessian_that_is_a_matrix_is_constant() -> None:
    """And all zeros make the function linear."""
    curved = Function(lambda x: x[0] ** 2, 2, gradient=lambda x: [2 * x[0], 0.0], hessian=[[2.0, 0.0], [0.0, 0.0]])
    flat = Function(lambda x: x[0], 2, gradient=lambda x: [1.0, 0.0], hessian=np.zeros((2, 2)))
    assert (curved.is_constant_hessian, curved.is_linear) == (True, False)
    assert (flat.is_constant_hessian, flat.is_linear) == (True, True)


def test_autograd_derives_what_it_tapes() -> None:
    """Where autograd is installed it gives the same derivatives; where it is not, the error says what to install."""
    try:
        import autograd.numpy as anp
    except ImportError:
        with pytest.raises(BackendUnavailable, match="pip install autograd"):
            Function(np.sum, 2, backend="autograd").gradient(np.ones(2))
        return
    taped = Function(lambda x: anp.sum(anp.sin(x)) * x[0], 2, backend="autograd")
    traced = Function(lambda x: jnp.sum(jnp.sin(x)) * x[0], 2)
    x, v = np.array([0.3, 0.9]), np.array([0.6, 0.8])
    assert traced.value(x) == pytest.approx(taped.value(x))
    assert traced.numpy(x) == pytest.approx(taped.numpy(x))
    np.testing.assert_allclose(taped.values([x, v]), traced.values([x, v]))
    np.testing.assert_allclose(taped.gradient(x), traced.gradient(x))
    np.testing.assert_allclose(taped.hessians([x]), traced.hessians([x]))
    np.testing.assert_allclose(taped.hvps([x], [v]), traced.hvps([x], [v]))
    np.testing.assert_allclose(taped.curvatures([x], [v])[1], traced.curvatures([x], [v])[1])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"dim": 0}, "dim must be >= 1, got 0"),
        ({"domain": Box([0.0], [1.0])}, "domain must have 2 coordinates"),
        ({"backend": "torch"}, "backend must be 'jax' or 'autograd', got 'torch'"),
        ({"gradient": np.sin}, "given together"),
        ({"gradient": np.sin, "hessian": np.zeros(2)}, r"shape \(2, 2\), got \(2,\)"),
    ],
)
def test_wrong_arguments_raise_at_the_door(arguments: dict[str, Any], reason: str) -> None:
    """ValueError says the value and the way out."""
    with pytest.raises(ValueError, match=reason):
        Function(**({"fn": np.sum, "dim": 2} | arguments))


def test_a_vector_of_another_size_is_refused() -> None:
    """Instead of broadcasting into some answer."""
    with pytest.raises(ValueError, match=r"must have shape \(6,\), got \(5,\)"):
        Function(kl, DIM).value(np.ones(5))
    with pytest.raises(ValueError, match=r"must have shape \(n, 6\), got \(6,\)"):
        Function(kl, DIM).values(np.ones(6))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("operands"),
        lambda arrays: arrays.update(operands=arrays["operands"][:-1]),
        lambda arrays: arrays.update(operands=arrays["operands"] + 1000),
        lambda arrays: arrays.update(operations=np.char.replace(arrays["operations"], b"log", b"os.")),
        lambda arrays: arrays.update(shape=np.array([6, 10_000, 1])),
        lambda arrays: arrays.update(counts=arrays["counts"].astype(object)[:1]),
        lambda arrays: arrays.pop("constant0"),
        lambda arrays: arrays.update(constant0=np.array("0.1")),
    ],
)
def test_a_spoilt_program_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    """Registers that are not there, unknown operations and missing arrays raise before anything runs."""
    arrays = Function(kl, DIM).program.to_arrays()
    spoil(arrays)
    with pytest.raises(MalformedMessage):
        Program.from_arrays(arrays)


def test_an_instruction_reads_only_what_comes_before_it() -> None:
    """A program cannot loop."""
    with pytest.raises(MalformedMessage, match="reads registers"):
        Program(1, (), (Instruction("neg", (1,)),), 1)
