"""What the one-way protocol certifies is so: f over a zone around any centre lies within the range that was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon.box import Box
from heflwr.automon.forms import Ratio
from heflwr.automon.function import Function
from heflwr.automon.protocols.affine import Affine
from heflwr.automon.protocols.bent import Bent
from heflwr.automon.protocols.closed_form import ClosedForm
from heflwr.automon.protocols.oneway.bank import BankCertifier, balanced
from heflwr.automon.protocols.oneway.bounded import Bounded
from heflwr.automon.protocols.oneway.certifier import Certifier
from heflwr.automon.protocols.oneway.curved import CurvedCertifier
from heflwr.automon.protocols.oneway.duality import Gradient, most, reach_of, top
from heflwr.automon.protocols.oneway.quadratic import QuadraticCertifier
from heflwr.automon.protocols.oneway.searched import Searched
from heflwr.automon.zones.drift import DriftZone, PointZone
from heflwr.automon.zones.quadratic import halves
from heflwr.automon.zones.slab import SlabZone
from heflwr.automon.zones.zone import Floats

BOX = Box(np.full(2, -3.0), np.full(2, 3.0))
MIXED = np.array([[2.0, 0.5, 0.0], [0.5, -1.0, 0.0], [0.0, 0.0, 0.0]])
"""Its eigenvalues are positive, negative and zero."""
SLOPE = np.array([0.3, -0.2, 0.1])
QUADRATIC = Function(lambda x: x @ MIXED @ x / 2 + SLOPE @ x, 3, gradient=lambda x: MIXED @ x + SLOPE, hessian=MIXED)
LINEAR = Function(lambda x: SLOPE @ x, 3, gradient=lambda x: SLOPE, hessian=np.zeros((3, 3)))
CUBES = Function(lambda x: (x**3).sum() / 6, 2, BOX, gradient=lambda x: x**2 / 2, hessian=np.diag)
"""Its eigenvalues are the coordinates: their extremes over a box are at its border, where no search misses them."""
NETWORK = Function(lambda x: jnp.tanh(x[0] - 0.5 * x[1]) + jnp.tanh(0.7 * x[0] * x[1]), 2, BOX)
CONVEX = Function(jax.nn.logsumexp, 2)
RATIO = Function.of(Ratio(np.array([1.0, 0.2]), np.array([0.1, 0.3]), denominator_offset=3.0))


@dataclass(frozen=True)
class Case:
    """A function and what certifies it."""

    function: Function
    make: Callable[[float], Certifier]
    examples: int = 60


CASES = {
    "quadratic": Case(QUADRATIC, lambda bound: QuadraticCertifier(QUADRATIC, bound), 200),
    "linear": Case(LINEAR, lambda bound: QuadraticCertifier(LINEAR, bound)),
    "searched": Case(CUBES, lambda bound: CurvedCertifier(CUBES, bound, Searched(CUBES)), 20),
    "bounded": Case(NETWORK, lambda bound: CurvedCertifier(NETWORK, bound, Bounded(NETWORK))),
    "bank, convex": Case(
        CONVEX, lambda bound: BankCertifier(Bent(CONVEX, bound, "convex", is_everywhere=True), bound, inf)
    ),
    "bank, form": Case(RATIO, lambda bound: BankCertifier(ClosedForm(RATIO.form, bound), bound, inf)),
    "bank, affine": Case(NETWORK, lambda bound: BankCertifier(Affine(NETWORK, bound), bound, inf), 30),
}
BOUNDS = [0.01, 0.1, 0.5, 2.0]
SEEDS = st.integers(0, 2**32 - 1)
WAYS = st.sampled_from([0, 1, 8])
"""Ways that were reported before the zone was made."""


def prepared(case: Case, bound: float, random: np.random.Generator, ways: int) -> tuple[Certifier, Floats, DriftZone]:
    """A certifier that has learnt from some ways, a centre, and the present zone around it."""
    dim = case.function.dim
    certifier, centre = case.make(bound), random.uniform(-2, 2, dim)
    certifier.longest = 10 ** random.uniform(-2, 0.5)
    if ways:
        certifier.adopt(certifier.zone(centre), centre)
        steps = certifier.longest * random.normal(0.2, 0.3, (ways, dim))
        certifier.learn(list(steps), ways, int(random.integers(1, 6)))
    zone = certifier.zone(centre)
    certifier.adopt(zone, centre)
    return certifier, centre, zone


def to_the_border(zone: DriftZone, direction: Floats) -> Floats:
    """The longest drift in a direction that is inside; of length 1e3 at most."""
    low, high = 0.0, 1e3
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if zone.violation(middle * direction) is None else (low, middle)
    return low * direction


def drifts_within(zone: DriftZone, gradient: Floats, random: np.random.Generator, count: int) -> Floats:
    """Drifts on the border and inside, half of them nearly along the gradient, where f changes most."""
    directions = random.normal(size=(count, len(gradient)))
    along = gradient if gradient.any() else directions[0]
    directions[: count // 2] = 0.2 * directions[: count // 2] + np.outer(random.choice([-1, 1], count // 2), along)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    border = np.array([to_the_border(zone, direction) for direction in directions])
    return border * random.choice([0.0, 0.5, 1.0, 1.0], (count, 1))


@pytest.mark.parametrize("name", CASES)
def test_f_of_the_mean_is_within_the_range(name: str) -> None:
    """Around the zone's own centre and any other, for nodes anywhere in the zone; or there is no range."""
    case = CASES[name]

    @settings(max_examples=case.examples, deadline=None)
    @given(seed=SEEDS, bound=st.sampled_from(BOUNDS), ways=WAYS, moves=st.lists(st.floats(0, 3), max_size=4))
    def check(seed: int, bound: float, ways: int, moves: list[float]) -> None:
        random, domain = np.random.default_rng(seed), case.function.domain
        certifier, centre, zone = prepared(case, bound, random, ways)
        drifts = drifts_within(zone, case.function.gradient(centre), random, 12)
        size = float(np.linalg.norm(drifts, axis=1).mean())
        for number, length in enumerate([0.0, *moves]):
            centre = centre + length * min(size, 1.0) * random.normal(size=case.function.dim)
            centre = centre if domain is None else domain.clip(centre)
            found = certifier.range(centre)
            if found is None:
                # Where affine bounds are loose the sizes of late may be a little too large: then none is certified.
                assert number > 0 or (name == "bounded" and ways), "a fresh zone is certified"
                continue
            lowest, highest = found
            assert highest - lowest <= 2 * bound * (1 + 1e-9)
            groups = np.array([drifts[random.integers(0, 12, nodes)].mean(axis=0) for nodes in (1, 2, 5)])
            weights = 12 * random.dirichlet(np.full(12, 0.3))  # a node each, that holds so much of the zone
            weighted = [drift * weight for drift, weight in zip(drifts, weights, strict=True)]
            parts = [zone.scaled(weight).violation((1 - 1e-9) * u) for u, weight in zip(weighted, weights, strict=True)]
            assert [None] * 12 == parts
            for mean in [*drifts, *groups, np.mean(weighted, axis=0)]:
                if domain is None or domain.contains(centre + mean):
                    value = case.function.numpy(centre + mean)
                    assert lowest - 1e-9 <= value <= highest + 1e-9

    check()


@pytest.mark.parametrize("name", CASES)
def test_zones_are_convex_and_contain_no_drift_at_all(name: str) -> None:
    """0 is inside; between two drifts that are inside every other is; many are judged as one by one."""
    case = CASES[name]

    @settings(max_examples=case.examples // 2, deadline=None)
    @given(seed=SEEDS, bound=st.sampled_from(BOUNDS), ways=WAYS)
    def check(seed: int, bound: float, ways: int) -> None:
        random = np.random.default_rng(seed)
        _, centre, zone = prepared(case, bound, random, ways)
        assert isinstance(zone, DriftZone)
        assert zone.violation(np.zeros(case.function.dim)) is None
        drifts = (1 - 1e-6) * drifts_within(zone, case.function.gradient(centre), random, 8)
        shares = random.random((8, 1))
        between = shares * drifts + (1 - shares) * random.permutation(drifts)
        assert [None] * 8 == [zone.violation(drift) for drift in between]
        # Not on the border itself, where both ways to sum may round to different sides.
        everywhere = np.concatenate([between, random.choice([0.5, 0.9, 1.1, 2.0], (8, 1)) * drifts, 1e3 * drifts])
        assert [zone.violation(drift) or 0 for drift in everywhere] == zone.violations(everywhere).tolist()

    check()


def test_a_centre_that_left_the_searched_box_is_searched_anew() -> None:
    """Where f bends more than where the zone was made, the range is as wide as f there."""
    searched, reach = Searched(CUBES), 0.3
    zone = searched.zone(np.zeros(2), 1.0, reach, searched.bends(np.zeros(2), reach))
    searched.adopt()
    centre = np.array([2.5, 2.5])
    lowest, highest = searched.range(zone, centre)
    drift = 0.999 * to_the_border(zone, np.full(2, 0.5**0.5))
    assert zone.violation(drift) is None
    assert np.linalg.norm(drift) > 0.9 * reach
    assert lowest <= CUBES.numpy(centre - drift) <= CUBES.numpy(centre + drift) <= highest


@given(seed=SEEDS, moved=st.floats(0, 1), has_rest=st.booleans())
def test_no_drift_changes_a_quadratic_by_more_than_the_dual_says(seed: int, moved: float, has_rest: bool) -> None:
    """For stiff faces and soft, a short reach and a long one, gradients within the Hessian's range and not."""
    random = np.random.default_rng(seed)
    factor, positive = halves(MIXED)
    gradient = random.normal(size=3) * [1, 1, has_rest]
    stiffness = float(random.choice([1.0, 1.3, 3.0]))
    depth, reach = random.uniform(0.01, 1), random.uniform(0.05, 2)
    zone = SlabZone(gradient, depth, reach, stiffness, stiffness, positive=positive, factor=factor)
    move = moved * random.normal(size=3)
    image = factor @ move
    up, down = most(zone, Gradient(zone), image[:positive], image[positive:])
    for drift in drifts_within(zone, gradient, random, 20):
        change = gradient @ drift + move @ MIXED @ drift + drift @ MIXED @ drift / 2
        assert -down - 1e-9 <= change <= up + 1e-9
    assert up <= depth + top(np.linalg.norm(image), 0.0, reach_of(zone)) * 2 + 1e-9


@settings(deadline=None)
@given(seed=SEEDS, dim=st.integers(1, 5), rank=st.integers(0, 5))
def test_a_hessian_is_its_two_halves(seed: int, dim: int, rank: int) -> None:
    """First the rows that raise f, then those that lower it: H = H+ + H-; nothing for eigenvalues of zero."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(min(rank, dim), dim))
    hessian = (vectors.T * random.choice([-1.0, 1.0], len(vectors))) @ vectors
    factor, positive = halves(hessian)
    rising, falling = factor[:positive], factor[positive:]
    assert np.allclose(hessian, rising.T @ rising - falling.T @ falling, atol=1e-9)
    assert len(factor) <= len(vectors)


def test_the_zone_of_points_admits_no_change() -> None:
    """The set {0}: every drift but none is reported."""
    drifts = np.array([[0.0, 0.0], [0.0, 1e-300], [-1.0, 2.0]])
    assert [0, 1, 1] == PointZone().violations(drifts).tolist()
    assert [None, 1, 1] == [PointZone().violation(drift) for drift in drifts]


def test_a_light_zone_takes_the_hessian_that_the_node_holds() -> None:
    """Without its factor it is finished by any slab before it that had one, and by nothing else."""
    certifier = QuadraticCertifier(QUADRATIC, 0.5)
    first, second = certifier.zone(np.zeros(3)), certifier.zone(np.ones(3))
    light = second.without_factor()
    finished = light.finished(QUADRATIC, first)
    assert finished is not None
    drifts = np.random.default_rng(0).normal(0, 0.5, (200, 3))
    assert second.violations(drifts).tolist() == finished.violations(drifts).tolist()
    assert 1 < len(set(second.violations(drifts).tolist()))
    assert light.finished(QUADRATIC, None) is None
    assert light.finished(QUADRATIC, PointZone()) is None
    assert light.finished(QUADRATIC, SlabZone(SLOPE, 1.0, 1.0, is_round=True)) is None


@given(share=st.floats(0.05, 0.95), reports=st.integers(0, 1000), nodes=st.integers(1, 100))
def test_the_bank_gets_more_where_zones_wear_out_first(share: float, reports: int, nodes: int) -> None:
    """Drifts get a larger share after more reports than zones cost, a smaller one after fewer; never all or nothing."""
    found = balanced(share, reports, nodes)
    assert 0.05 <= found <= 0.95
    difference = reports * (1 - share) - nodes * share
    assert difference == pytest.approx(0, abs=1e-9) or (found - share) * difference >= -1e-12
    assert found > share or difference <= 1e-9 or share > 0.94
