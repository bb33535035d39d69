"""The strongest guarantee that a function allows is chosen, named, and never weakened silently."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.forms import Ratio
from heflwr.automon.function import Function
from heflwr.automon.messages import Violation
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.zoning import choose
from heflwr.automon.simulation import simulate
from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.zone import ViolationKind

UNIT = Box(np.zeros(2), np.ones(2))
SQUARE = {"gradient": lambda x: 4 * x**3, "hessian": lambda x: np.diag(12 * x**2)}


def quartic(x: Any) -> Any:
    return (x**4).sum()


CHOICES = {
    "linear": (Function(lambda x: x[0] - 2 * x[1], 2), Guarantee.EXACT, "linear"),
    "ratio": (Function.of(Ratio(np.ones(2), np.array([0.0, 1.0]))), Guarantee.EXACT, "two half-spaces"),
    "quadratic": (Function(lambda x: x[0] * x[1], 2), Guarantee.GUARANTEED, "constant"),
    "convex": (Function(jax.nn.logsumexp, 2), Guarantee.GUARANTEED, "convex, which its jaxpr proves"),
    "concave": (Function(lambda x: jnp.log(x).sum(), 2, UNIT), Guarantee.GUARANTEED, "concave, which its jaxpr proves"),
    "claimed": (Function(quartic, 2, UNIT, shape="convex", **SQUARE), Guarantee.GUARANTEED, "the caller says"),
    "network": (Function(lambda x: jnp.tanh(x[0] - x[1]), 2), Guarantee.GUARANTEED, "affine"),
    "given": (Function(quartic, 2, UNIT, **SQUARE), Guarantee.HEURISTIC, "numerical search"),
    "unknown": (Function(lambda x: jax.lax.erf(x[0] * x[1]), 2, UNIT), Guarantee.HEURISTIC, "known for 'erf'"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_strongest_guarantee_is_chosen(name: str) -> None:
    """The answer names the guarantee and its reason, from the first sync on."""
    function, guarantee, reason = CHOICES[name]
    report = simulate(function, np.full((2, 3, 2), 0.5), 0.1)
    assert guarantee is report.guarantee
    assert reason in report.reason


@pytest.mark.parametrize("name", CHOICES)
def test_at_least_so_strong_or_an_error(name: str) -> None:
    """Asking for more than a function allows is refused with the way out, asking for less is not."""
    function, guarantee, _ = CHOICES[name]
    ladder = [Guarantee.HEURISTIC, Guarantee.GUARANTEED, Guarantee.EXACT]
    for wanted in ladder[1:]:
        if ladder.index(wanted) <= ladder.index(guarantee):
            assert guarantee is choose(function, 0.1, guarantee=wanted.value).guarantee
        else:
            with pytest.raises(ValueError, match=f"guarantee='{wanted.value}' cannot be had .* or ask for less"):
                Coordinator(function, 3, 0.1, guarantee=wanted.value)


def test_a_search_must_be_asked_for() -> None:
    """guarantee="heuristic" takes the search instead of affine bounds; a proved zone that is no narrower stays."""
    network, convex = CHOICES["network"][0], CHOICES["convex"][0]
    assert Guarantee.HEURISTIC is Coordinator(network, 3, 0.1, guarantee="heuristic").answer.guarantee
    assert Guarantee.GUARANTEED is Coordinator(convex, 3, 0.1, guarantee="heuristic").answer.guarantee


def test_unknown_guarantees_are_refused() -> None:
    """Names are checked, and a derivation of one's own excludes a choice."""
    function = CHOICES["linear"][0]
    with pytest.raises(ValueError, match="guarantee must be"):
        choose(function, 0.1, guarantee="sure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave one of them out"):
        Coordinator(function, 3, 0.1, guarantee="exact", derivation=choose(function, 0.1))
    with pytest.raises(ValueError, match="error_bound must be > 0"):
        choose(function, 0.0)


def test_a_wrong_claim_is_found_at_the_door() -> None:
    """A function that is said to be concave and is convex is refused before anything is monitored."""
    with pytest.raises(ValueError, match="f is not concave: its Hessian has the eigenvalue"):
        choose(Function(quartic, 2, UNIT, shape="concave", **SQUARE), 0.1)
    with pytest.raises(ValueError, match="f is not convex"):
        choose(Function(lambda x: -quartic(x), 2, shape="convex", gradient=lambda x: -4 * x**3,
                        hessian=lambda x: np.diag(-12 * x**2)), 0.1)  # fmt: skip
    with pytest.raises(ValueError, match="shape must be 'convex', 'concave' or None, got 'round'"):
        Function(quartic, 2, shape="round")  # type: ignore[arg-type]


def test_a_convex_function_is_not_cut_by_its_domain() -> None:
    """Where f is convex wherever it is a number, a point outside of the domain is no violation; else it is."""
    zones = [
        choose(Function(fn, 2, UNIT), 0.5).zone(np.full(2, 0.2), np.inf)
        for fn in (jax.nn.logsumexp, lambda x: (x**3).sum())
    ]
    assert all(isinstance(zone, DcZone) and zone.curvature == 0 for zone in zones)
    assert [True, False] == [zone.violation(np.array([-0.1, 0.2])) is None for zone in zones]


@pytest.mark.parametrize("shape", ["convex", "concave"])
def test_a_bent_function_stays_within_the_bound(shape: str) -> None:
    """f and its tangent are enough: no round is past the bound, and most rounds are silent."""
    sign = 1.0 if shape == "convex" else -1.0
    random = np.random.default_rng(3)
    drift = np.cumsum(random.normal(0, 0.02, (200, 1, 4)), axis=0)
    report = simulate(
        Function(lambda x: sign * jax.nn.logsumexp(2 * x), 4), drift + random.normal(0, 0.05, (200, 5, 4)), 0.3
    )
    assert Guarantee.GUARANTEED is report.guarantee
    assert 0 == report.bound_violations
    assert report.messages < report.centralization / 2


def test_a_mean_without_a_value_is_named() -> None:
    """No zone is made around a point where f is not finite."""
    with pytest.raises(UnsupportedFunction, match="not finite at x0"):
        choose(Function(lambda x: jnp.log(x).sum(), 2), 0.1).zone(np.array([-1.0, 1.0]), np.inf)
    with pytest.raises(UnsupportedFunction, match="not finite at x0"):
        choose(Function(lambda x: jnp.tanh(jnp.log(x)).sum(), 2), 0.1).zone(np.array([-1.0, 1.0]), np.inf)


@pytest.mark.parametrize("name", ["ratio", "convex", "network"])
def test_a_restored_coordinator_has_the_zone_it_had(name: str) -> None:
    """A zone is worked out again from x0 alone: the same numbers, to the last digit."""
    function = CHOICES[name][0]
    coordinator = Coordinator(function, 3, 0.1)
    coordinator.receive(*[Violation(i, 0, ViolationKind.SAFE_ZONE, np.array([0.3, 0.7 + 0.1 * i])) for i in range(3)])
    again = Coordinator.from_state(coordinator.state, function, 0.1)
    points = np.random.default_rng(0).normal(0.5, 0.3, (200, 2))
    assert coordinator.zone is not None
    assert again.zone is not None
    values = function.values(points)
    assert np.array_equal(coordinator.zone.violations(points, values), again.zone.violations(points, values))
    assert coordinator.answer == again.answer
