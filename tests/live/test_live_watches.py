"""The list of watched functions: every entry of the catalogue, and whatever a file may get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heflwr.live import Watches, read_watches
from heflwr.live.catalogue import kinds
from heflwr.live.errors import WrongWatches
from heflwr.live.watches import watches_of

ARGUMENTS = {
    "mean": 'metric = "cpu_usage"',
    "total": 'metrics = ["network_bytes_sent", "network_bytes_recv"]\nnodes = 3',
    "total_network": "nodes = 3",
    "total_power": "nodes = 3",
    "time_to_exhaustion": "",
    "straggler_share": 'metric = "cpu_usage"\nthreshold = 90',
    "imbalance": 'metric = "memory_usage"',
    "coefficient_of_variation": 'metric = "cpu_usage"',
    "jain_fairness": 'metric = "cpu_usage"',
    "smooth_max": 'metric = "cpu_usage"\ntemperature = 5.0',
    "bottleneck": 'metrics = ["cpu_usage", "memory_usage"]\ntemperature = 2',
    "quantile": 'metric = "cpu_usage"\nq = 0.95\nbins = 10',
    "entropy": 'metric = "cpu_usage"\nedges = [0, 50, 100]',
    "kl_drift": 'metric = "cpu_usage"\nedges = [0, 50, 100]\nbaseline = [3, 1]',
    "predicted_round_time": 'layers = [[[[1.0], [2.0]], [0.5]]]\nmetrics = ["cpu_usage", "memory_usage"]',
}
"""What each kind needs; the constants of the catalogue need nothing."""

SAMPLE = {
    "cpu_usage": 40.0,
    "memory_usage": 20.0,
    "network_bytes_sent": 10,
    "network_bytes_recv": 20,
    "power_vdd_in": 5000.0,
    "battery_joules": 1000.0,
}


def written(folder: Path, text: str) -> Watches:
    path = folder / "watches.toml"
    path.write_text(text)
    return read_watches(path)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_entry_of_the_catalogue_can_be_watched(kind: str, tmp_path: Path) -> None:
    """From a file to the local vector of a sample, and back to what a file would say.

    An entry that is new to the catalogue needs a line here.
    """
    arguments = ARGUMENTS.get(kind, "")
    watches = written(
        tmp_path, f'[[watch]]\nkind = "{kind}"\nbound = 0.5\nwindow = 3\nbelow = 7\npossible = true\n{arguments}\n'
    )
    (watch,) = watches
    (again,) = watches_of({"watch": watches.entries})
    assert (watch.text, watch.above, watch.below, watch.is_possible) == (again.text, None, 7.0, True)
    vector = watch.measure.vector(SAMPLE)
    assert (watch.measure.dim,) == vector.shape
    assert np.isfinite(watch.measure.function.value(vector))
    assert watch.bound == 0.5


def test_the_catalogue_is_what_the_kinds_are() -> None:
    """Functions that make a measure, and measures; a function of the user's own cannot be in a file."""
    assert set(ARGUMENTS) < set(kinds())
    assert not {"function", "histogram", "Measure"} & set(kinds())


def test_a_list_says_what_it_takes_and_what_it_is(tmp_path: Path) -> None:
    """Names, bounds and windows are kept in order; metrics are named once; alerts are part of it."""
    watches = written(
        tmp_path,
        """
        [[watch]]
        kind = "mean"
        metric = "cpu_usage"
        bound = 2
        window = 5
        above = 80
        [[watch]]
        kind = "quantile"
        metric = "cpu_usage"
        q = 0.95
        name = "busy"
        below = 1.0
        possible = true
        """,
    )
    mean, busy = watches
    assert ("mean cpu_usage", 2.0, 5, 80.0, None, False) == (
        mean.name,
        mean.bound,
        mean.window,
        mean.above,
        mean.below,
        mean.is_possible,
    )
    assert ("busy", 1.0, True) == (busy.name, busy.below, busy.is_possible)
    assert busy.bound > 0, "the bin's own"
    assert ("cpu_usage",) == watches.metrics
    assert "mean cpu_usage within 2; busy within" in watches.description


def test_the_fingerprint_is_of_what_agents_do(tmp_path: Path) -> None:
    """Comments and alerts do not change it; a bound, a window, a name or the order does."""
    one = '[[watch]]\nkind = "mean"\nmetric = "cpu_usage"\nbound = 2.0\n'
    two = '[[watch]]\nkind = "mean_memory"\nbound = 1.0\n'
    same = {written(tmp_path, text).fingerprint for text in (one + two, f"# hello\n{one}above = 3\n{two}")}
    others = [one, two + one, one.replace("2.0", "2.5") + two, f"{one}window = 2\n{two}", f'{one}name = "x"\n{two}']
    assert 1 == len(same)
    assert 6 == len(same | {written(tmp_path, text).fingerprint for text in others})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "nothing is watched"),
        ("watch = 3", "nothing is watched"),
        ("[[watches]]", "there is no 'watches'"),
        ("[[watch]]", "watch 1: kind must be one of bottleneck, .*, got None"),
        ('[[watch]]\nkind = "means"', "got 'means'"),
        ('[[watch]]\nkind = "function"', "got 'function'"),
        ('[[watch]]\nkind = "mean"\nbound = 1', "mean needs 'metric'"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbounds = 1', "mean has no 'bounds'; it takes metric, unit"),
        ('[[watch]]\nkind = "mean"\nmetric = 3\nbound = 1', "metric must be str, got 3"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"', "needs a bound"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = 0', "must be > 0"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = inf', "bound must be a finite number"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = true', "bound must be a finite number"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = 1\nwindow = 0', "window must be a whole number"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = 1\nname = ""', "name must be printable"),
        ('[[watch]]\nkind = "mean"\nmetric = "a"\nbound = 1\npossible = true', "goes with above or below"),
        ('[[watch]]\nkind = "quantile"\nmetric = "a"\nq = 2\nedges = [0, 1, 2]', "q must be"),
        ('[[watch]]\nkind = "total"\nmetrics = "a"\nbound = 1', "metrics must be a list of texts"),
        ('[[watch]]\nkind = "total"\nmetrics = ["a"]\nnodes = 2.5\nbound = 1', "nodes must be int"),
        ('[[watch]]\nkind = "smooth_max"\nmetric = "cpu_usage"\ntemperature = nan\nbound = 1', "must be finite"),
        ('[[watch]]\nkind = "mean_cpu"\nbound = 1\n' * 2, "another one is called 'mean cpu_usage'"),
        ('[[watch]]\nkind = "mean_cpu"\nbound = 1\n' * 65, "at most 64 functions"),
        ("[[watch", "no TOML"),
    ],
)
def test_a_wrong_list_is_refused_with_the_place_and_the_way_out(text: str, match: str, tmp_path: Path) -> None:
    """The text names the file, the watch, the value, and what is allowed."""
    with pytest.raises(WrongWatches, match=match) as caught:
        written(tmp_path, text)
    assert "watches.toml" in str(caught.value)


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It says which file."""
    with pytest.raises(WrongWatches, match=r"cannot read .*none\.toml"):
        read_watches(tmp_path / "none.toml")
