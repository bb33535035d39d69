"""Where a node puts its anchors: always sound, and where its own ways say that they last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon.box import Box
from heflwr.automon.protocols.anchor import FURTHEST, Anchor
from heflwr.automon.zones.drift import PointZone
from heflwr.automon.zones.slab import SlabZone


@given(seed=st.integers(0, 10_000), reach=st.floats(0.01, 10), reports=st.integers(1, 12), has_domain=st.booleans())
def test_a_vector_is_inside_the_zone_around_its_new_anchor(
    seed: int, reach: float, reports: int, has_domain: bool
) -> None:
    """After any ways: inside the zone, the anchor within the domain, the lead within its limits."""
    random = np.random.default_rng(seed)
    domain = Box(np.full(2, -1.0), np.full(2, 1.0)) if has_domain else None
    zone = SlabZone(random.normal(size=2), random.uniform(0.01, 1), reach, is_round=True)
    anchor = Anchor(random.uniform(-1, 1, 2))
    for x in random.uniform(-1, 1, (reports, 2)):
        anchor = anchor.moved(x, zone, domain)
        assert zone.violation(x - anchor.at) is None
        assert domain is None or domain.contains(anchor.at)
        assert -FURTHEST <= anchor.lead <= FURTHEST


def test_an_anchor_leads_on_a_straight_way_and_follows_on_a_zigzag() -> None:
    """It goes ahead of a vector that keeps its course and stays behind one that turns back."""
    zone = SlabZone(np.zeros(2), 1.0, 1.0, is_round=True)
    straight = [Anchor(np.zeros(2))]
    for number in range(1, 9):
        straight.append(straight[-1].moved(np.array([1.5 * number, 0.0]), zone, None))
    leads = [anchor.lead for anchor in straight[1:]]
    assert 0 == leads[0] < leads[1] < leads[2] < leads[-1]
    assert straight[-1].at[0] > 1.5 * 8
    zigzag = [Anchor(np.zeros(2))]
    for number in range(1, 9):
        zigzag.append(zigzag[-1].moved(np.array([2.0 * (-1) ** number, 0.0]), zone, None))
    leads = [anchor.lead for anchor in zigzag[1:]]
    assert 0 == leads[0] > leads[1] > leads[2]
    assert abs(zigzag[-1].at[0]) < 2.0
    assert Anchor(np.ones(2)).moved(np.full(2, 3.0), PointZone(), None).at.tolist() == [3.0, 3.0]
