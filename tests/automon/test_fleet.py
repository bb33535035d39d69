"""The catalogue: vectors from samples, values as defined, and runs over generated fleets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon import fleet
from heflwr.automon.answer import Guarantee
from heflwr.automon.fleet import Measure
from heflwr.automon.function import Function
from heflwr.automon.protocols.zoning import choose
from heflwr.automon.simulation import simulate

NODES = 8
LAYERS = [
    (np.array([[0.02, -0.01, 0.015], [0.01, 0.02, -0.01]]), np.array([-0.5, 0.3, 0.1])),
    (np.array([[2.0], [1.0], [-1.5]]), np.array([6.0])),
]
BASELINE = np.ones(20)
Values = dict[str, float]


def calm_fleet(rounds: int = 120, nodes: int = NODES, seed: int = 0) -> list[list[Values]]:
    """A sample a round and node: loads of their own that drift slowly, some noise, batteries that empty."""
    random = np.random.default_rng(seed)
    own = random.uniform(-12, 12, nodes)
    drift = 3 * np.sin(np.arange(rounds) / 40)
    samples = []
    for t in range(rounds):
        cpu = np.clip(45 + own + drift[t] + random.normal(0, 0.5, nodes), 1, 100)
        memory = np.clip(60 - 0.5 * own + drift[t] + random.normal(0, 0.2, nodes), 1, 100)
        sent, received = random.normal(5e4, 5e2, nodes), random.normal(2e5, 2e3, nodes)
        power = 4e3 + 50 * cpu + random.normal(0, 20, nodes)
        samples.append(
            [
                {
                    "cpu_usage": cpu[i],
                    "memory_usage": memory[i],
                    "network_bytes_sent": sent[i],
                    "network_bytes_recv": received[i],
                    "power_vdd_in": power[i],
                    "battery_joules": 4e4 - 6 * t + 100 * i,
                }
                for i in range(nodes)
            ]
        )
    return samples


def columns(samples: Sequence[Values], *names: str) -> list[np.ndarray]:
    return [np.array([sample[name] for sample in samples]) for name in names]


def shares(samples: Sequence[Values]) -> np.ndarray:
    return np.histogram(columns(samples, "cpu_usage")[0], bins=fleet.PERCENT_EDGES)[0] / len(samples)


def smoothed(p: np.ndarray) -> np.ndarray:
    return (p + fleet.SMOOTHING) / (1 + len(p) * fleet.SMOOTHING)


def network(x: np.ndarray) -> float:
    (first, bias), (second, last) = LAYERS
    return float((np.tanh(x @ first + bias) @ second + last)[0])


# Each entry: the measure, an error bound, the guarantee, and its definition over the samples of one round.
CATALOGUE: dict[str, tuple[Measure, float, Guarantee, Callable[[Sequence[Values]], float]]] = {
    "mean cpu": (fleet.mean_cpu, 1.0, Guarantee.EXACT, lambda s: float(columns(s, "cpu_usage")[0].mean())),
    "mean memory": (fleet.mean_memory, 1.0, Guarantee.EXACT, lambda s: float(columns(s, "memory_usage")[0].mean())),
    "total network": (
        fleet.total_network(NODES), 4e4, Guarantee.EXACT,
        lambda s: float(sum(map(np.sum, columns(s, "network_bytes_sent", "network_bytes_recv")))),
    ),
    "total power": (
        fleet.total_power(NODES), 2.0, Guarantee.EXACT, lambda s: float(columns(s, "power_vdd_in")[0].sum() / 1000),
    ),
    "time to exhaustion": (
        fleet.time_to_exhaustion(), 200.0, Guarantee.EXACT,
        lambda s: float(columns(s, "battery_joules")[0].sum() / (columns(s, "power_vdd_in")[0].sum() / 1000)),
    ),
    "imbalance": (fleet.cpu_imbalance, 15.0, Guarantee.GUARANTEED, lambda s: float(columns(s, "cpu_usage")[0].var())),
    "variation": (
        fleet.cpu_variation, 0.03, Guarantee.EXACT,
        lambda s: float(columns(s, "cpu_usage")[0].std() / columns(s, "cpu_usage")[0].mean()),
    ),
    "fairness": (
        fleet.cpu_fairness, 0.02, Guarantee.EXACT,
        lambda s: float(columns(s, "cpu_usage")[0].sum() ** 2 / (len(s) * (columns(s, "cpu_usage")[0] ** 2).sum())),
    ),
    "stragglers": (
        fleet.straggler_share("cpu_usage", 50.0), 0.2, Guarantee.EXACT,
        lambda s: float((columns(s, "cpu_usage")[0] > 50).mean()),
    ),
    "p95": (
        fleet.cpu_p95, 5.0, Guarantee.EXACT,
        lambda s: float(np.floor(np.quantile(columns(s, "cpu_usage")[0], 0.95, method="inverted_cdf") / 5) * 5 + 2.5),
    ),
    "entropy": (
        fleet.cpu_entropy, 0.4, Guarantee.GUARANTEED,
        lambda s: -float(smoothed(shares(s)) @ np.log(smoothed(shares(s)))),
    ),
    "drift": (
        fleet.kl_drift("cpu_usage", BASELINE), 0.4, Guarantee.GUARANTEED,
        lambda s: float(smoothed(shares(s)) @ np.log(20 * smoothed(shares(s)))),
    ),
    "smooth max": (
        fleet.cpu_smooth_max, 1.5, Guarantee.EXACT,
        lambda s: float(5 * np.log(np.exp(columns(s, "cpu_usage")[0] / 5).mean())),
    ),
    "bottleneck": (
        fleet.bottleneck(), 1.5, Guarantee.GUARANTEED,
        lambda s: float(np.logaddexp(*[column.mean() for column in columns(s, "cpu_usage", "memory_usage")])),
    ),
    "round time": (
        fleet.predicted_round_time(LAYERS), 0.2, Guarantee.GUARANTEED,
        lambda s: network(np.array([column.mean() for column in columns(s, "cpu_usage", "memory_usage")])),
    ),
    "round time, relu": (
        fleet.predicted_round_time(LAYERS, activation="relu"), 0.2, Guarantee.GUARANTEED,
        lambda s: float((np.maximum(np.array([column.mean() for column in columns(s, "cpu_usage", "memory_usage")])
                                    @ LAYERS[0][0] + LAYERS[0][1], 0) @ LAYERS[1][0] + LAYERS[1][1])[0]),
    ),
}  # fmt: skip


def vectors(measure: Measure, samples: list[list[Values]], window: int = 1) -> np.ndarray:
    """(rounds, nodes, dim): each node's vector over its last samples, as many as `window`."""
    nodes, rounds = range(len(samples[0])), range(window - 1, len(samples))
    return np.array(
        [[measure.vector(*[samples[s][i] for s in range(t - window + 1, t + 1)]) for i in nodes] for t in rounds]
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_function_of_the_mean_is_what_the_name_says(name: str) -> None:
    """f of the mean of the local vectors equals the definition over the raw samples of all nodes."""
    measure, _, _, definition = CATALOGUE[name]
    for row in calm_fleet(rounds=5, seed=4):
        mean = vectors(measure, [row])[0].mean(axis=0)
        assert definition(row) == pytest.approx(measure.function.value(mean), rel=1e-9)
        assert measure.function.value(mean) == measure.function.numpy(mean)


@pytest.mark.parametrize("name", CATALOGUE)
def test_calm_fleets_are_followed_within_the_bound_for_fewer_messages(name: str) -> None:
    """No round is past the bound, the guarantee is named, and reporting everything would cost more.

    What counts samples in bins is looked at over windows: a single sample is in one bin or another, never between.
    """
    measure, error_bound, guarantee, _ = CATALOGUE[name]
    window = 10 if name in ("stragglers", "p95", "entropy", "drift") else 1
    report = simulate(measure.function, vectors(measure, calm_fleet(), window), error_bound, "gm")
    assert guarantee is report.guarantee
    assert 0 == report.bound_violations
    assert report.messages < report.centralization


@pytest.mark.parametrize("name", CATALOGUE)
def test_stormy_fleets_are_followed_within_the_bound(name: str) -> None:
    """Loads that jump about at random cost messages, never the bound."""
    measure, error_bound, _, _ = CATALOGUE[name]
    random = np.random.default_rng(7)
    samples = calm_fleet(rounds=40, seed=1)
    for row in samples:
        for sample in row:
            sample["cpu_usage"] = float(random.choice([0.5, 20.0, 50.0, 99.5, 100.0]))
            sample["memory_usage"] = float(random.uniform(0, 100))
            sample["power_vdd_in"] = float(random.choice([0.0, 5e3, 2e4]))
    report = simulate(measure.function, vectors(measure, samples), error_bound, "gm")
    assert report.max_error <= error_bound + 1e-9


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"p95", "round time, relu"}))
def test_derivatives_are_those_of_the_value(name: str) -> None:
    """Gradient and Hessian agree with differences, at the mean of a fleet."""
    measure = CATALOGUE[name][0]
    function = measure.function
    x = vectors(measure, calm_fleet(rounds=1))[0].mean(axis=0) + 0.01  # no empty bins, where entropies have a seam
    for at in range(measure.dim):
        step = np.zeros(measure.dim)
        step[at] = 1e-5 * max(abs(x[at]), 1e-3)
        slope = (function.value(x + step) - function.value(x - step)) / (2 * step[at])
        bend = (function.gradient(x + step) - function.gradient(x - step)) / (2 * step[at])
        assert slope == pytest.approx(function.gradient(x)[at], rel=1e-3, abs=1e-6)
        assert np.allclose(
            bend, function.hessian(x)[at], rtol=1e-3, atol=1e-6 * (1 + np.abs(function.hessian(x)).max())
        )


@given(st.lists(st.floats(-0.5, 1.5), min_size=40, max_size=40))
def test_entropy_and_drift_bend_as_they_say_also_outside_of_histograms(numbers: list[float]) -> None:
    """The entropy is concave and the drift convex on all vectors, which their guarantee rests on."""
    first, second = np.split(np.array(numbers), 2)
    for measure, sign in ((fleet.cpu_entropy, -1), (fleet.kl_drift("cpu_usage", np.arange(20.0)), 1)):
        f = measure.function.value
        assert sign * (f(first) + f(second) - 2 * f((first + second) / 2)) >= -1e-9


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_the_smooth_maximum_is_close_below_the_maximum(values: list[float]) -> None:
    """It is at most the largest value, and at least that less T log n."""
    measure = fleet.smooth_max("v", "percent", temperature=5.0)
    found = measure.function.value(np.mean([measure.vector({"v": value}) for value in values], axis=0))
    assert max(values) - 5 * np.log(len(values)) - 1e-6 <= found <= max(values) + 1e-6


def test_a_window_is_the_mean_of_its_samples() -> None:
    """Several samples give a histogram, each weighing alike; values outside of the edges go to the outer bins."""
    found = fleet.cpu_p95.vector(*[{"cpu_usage": value} for value in (-3.0, 0.0, 5.0, 100.0)])
    assert [0.5, 0.25, 0.25] == [found[0], found[1], found[-1]]
    assert 1 == found.sum()


def test_columns_stand_for_their_latest_value() -> None:
    """What stats() returns, a list a metric, serves as a sample."""
    assert [7.0] == fleet.mean_cpu.vector({"cpu_usage": [3.0, 7.0], "memory_usage": []}).tolist()


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ({"memory_usage": 3.0, "gpu_usage": 1.0}, "the metric 'cpu_usage', and the sample has gpu_usage, memory_usage"),
        ({"cpu_usage": np.nan, "threads": 3.0}, "number for 'cpu_usage', got nan; the sample also has threads"),
        ({"cpu_usage": None}, "finite number for 'cpu_usage', got None; the sample also has nothing"),
        ({"cpu_usage": []}, r"finite number for 'cpu_usage', got \[\]"),
        ({"cpu_usage": "much"}, "finite number for 'cpu_usage', got 'much'"),
    ],
)  # fmt: skip
def test_a_sample_without_the_metric_is_refused(sample: Any, match: str) -> None:
    """The error says what is needed and what there is."""
    with pytest.raises(ValueError, match=match):
        fleet.mean_cpu.vector(sample)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fleet.mean_cpu.vector(), "at least one sample"),
        (lambda: fleet.total("v", nodes=0, unit="1"), "nodes must be >= 1"),
        (lambda: fleet.total(nodes=3, unit="1"), "at least one metric"),
        (lambda: fleet.smooth_max("v", "1", temperature=0), "temperature must be > 0"),
        (lambda: fleet.smooth_max("v", "1", temperature=1e-3).vector({"v": 200.0}), "no local vector"),
        (lambda: fleet.bottleneck(temperature=-1), "temperature must be > 0"),
        (lambda: fleet.entropy("v", edges=[1.0, 0.0]), "increasing"),
        (lambda: fleet.kl_drift("v", np.ones(3)), "baseline must hold 20"),
        (lambda: fleet.kl_drift("v", np.zeros(20)), "not all 0"),
        (lambda: fleet.time_to_exhaustion().vector({"battery_joules": 1.0, "power_vdd_in": -1.0}), "must be >= 0"),
        (lambda: fleet.predicted_round_time([(np.ones((3, 1)), np.ones(1))]), "layer 0 must have weights"),
        (lambda: fleet.predicted_round_time([(np.ones((2, 2)), np.ones(2))]), "end in one output"),
        (lambda: fleet.predicted_round_time([(np.full((2, 1), np.nan), np.ones(1))]), "finite weights"),
        (lambda: fleet.predicted_round_time(LAYERS, activation="step"), "activation must be"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], match: str) -> None:
    """Each with the value and the way out."""
    with pytest.raises(ValueError, match=match):
        make()


def test_a_network_is_a_program_for_the_nodes() -> None:
    """Its function travels, and its zones need no search."""
    function = fleet.predicted_round_time(LAYERS).function
    assert 2 == function.program.dim
    assert isinstance(function, Function)
    assert Guarantee.GUARANTEED is choose(function, 0.1).guarantee


def test_the_catalogue_needs_no_jax() -> None:
    """Vectors, zones and runs of every entry use NumPy alone."""
    code = (
        "import sys, numpy as np\n"
        "from heflwr.automon import fleet\n"
        "from heflwr.automon.simulation import simulate\n"
        "for m in (fleet.mean_cpu, fleet.cpu_p95, fleet.cpu_entropy, fleet.cpu_fairness, fleet.bottleneck()):\n"
        "    x = np.array([[m.vector({'cpu_usage': 10.0 + i, 'memory_usage': 50.0}) for i in range(3)]] * 3)\n"
        "    simulate(m.function, x, 1.0)\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
