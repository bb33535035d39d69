"""The benchmark of automon runs and its report holds together; what the figures are is its own business."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")
pytest.importorskip("matplotlib")

from benchmarks.automon.counts import count, geometric_mean, ratios
from benchmarks.automon.data_sets import ORDER, generated, missing, recorded
from benchmarks.automon.speed import weigh

ROOT = Path(__file__).parents[2]
NODES = 3
DIMS = {"inner_product": 40, "quadratic": 40, "mlp2": 2, "saddle": 2, "sine": 1, "kld_d40": 40}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recorded data sets of a few rounds, in the format of the large ones."""
    random = np.random.default_rng(0)
    runs = []
    for name, dim in DIMS.items():
        vectors = random.normal(0, 0.1, (8, NODES, dim))
        arrays: dict[str, Any] = {"X": vectors}
        if name == "quadratic":
            arrays["H"] = np.diag(np.linspace(-1, 1, dim)).astype(np.float32)
        if name == "mlp2":
            arrays["Xtune"] = vectors[:5]
            for layer, (rows, columns) in enumerate([(2, 4), (4, 3), (3, 2), (2, 1)], 1):
                arrays[f"W{layer}"] = random.normal(0, 1, (rows, columns)).astype(np.float32)
                arrays[f"b{layer}"] = np.zeros(columns, dtype=np.float32)
        if name == "kld_d40":
            counts = random.multinomial(200, np.full(20, 0.05), (8, NODES, 2)).reshape(8, NODES, 40)
            arrays = {"Xcount": counts.astype(np.int16), "count_scale": 200.0}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        runs += [{"name": name, "method": "automon", "eps": eps, "messages": 40, "err_max": 0.1} for eps in (0.5, 0.2)]
        runs.append({"name": name, "method": "rlv", "eps": 0.1, "messages": 40, "err_max": 0.1})
    (tmp_path / "reference.json").write_text(json.dumps(runs))
    return tmp_path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as a user does."""
    known = {name: value for name, value in os.environ.items() if name != "HEFLWR_AUTOMON_DATA"}
    command = [sys.executable, "-m", "benchmarks.automon", *arguments]
    return subprocess.run(command, cwd=ROOT, env=known | environment, capture_output=True, text=True, check=False)


def test_recorded_data_come_with_their_reference(folder: Path) -> None:
    """All data sets of the folder, counts scaled back to shares, error bounds from the tightest on."""
    sets = {each.name: each for each in recorded(folder)}
    assert list(ORDER) == list(sets)
    for name, data_set in sets.items():
        assert (8, NODES, DIMS[name]) == data_set.data.shape
        assert (0.2, 0.5) == data_set.error_bounds
        assert math.isfinite(data_set.function.value(data_set.data[0, 0]))
    assert np.allclose(1.0, sets["kld_d40"].data[:, :, :20].sum(axis=2))
    tuning = sets["mlp2"].tuning_data
    assert tuning is not None
    assert 5 == len(tuning)


def test_a_row_holds_every_figure(folder: Path) -> None:
    """Ours beside the reference, the lower bounds and centralization, in an order that can be."""
    row = count(next(each for each in recorded(folder) if each.name == "saddle"), 0.2, lambda text: None)
    assert NODES * 8 == row["centralization"]
    assert {"messages": 40, "error": 0.5} == row["reference"]
    assert row["info"] <= row["filter"] <= row["gm"]["messages"]
    assert "guaranteed" == row["gm"]["guarantee"]
    assert [row["gm"]["messages"] / 40] == ratios([row, {"gm": row["gm"]}], "gm")


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_a_node_is_light() -> None:
    """A node with its zones takes less than 1 MiB beside NumPy, and brings no JAX."""
    weighed = weigh()
    assert 0 < weighed["kib"] < 1024
    assert not weighed["has_jax"]


def test_the_geometric_mean_is_that() -> None:
    """Of 1 and 4 it is 2; of none there is none."""
    assert math.isclose(2.0, geometric_mean([1.0, 4.0]))
    assert math.isnan(geometric_mean([]))


def test_missing_files_are_named(folder: Path) -> None:
    """A folder that lacks something is refused, with the names, before anything runs."""
    assert [] == missing(folder)
    (folder / "sine.npz").unlink()
    done = run("--data", str(folder))
    assert 2 == done.returncode
    assert "must hold sine.npz" in done.stderr


def test_generated_data_are_of_the_kinds_that_are_recorded() -> None:
    """A trend, noise and a drift, of the sizes asked for and the same each time."""
    first, second = generated(rounds=20, nodes=4), generated(rounds=20, nodes=4)
    assert ["inner product", "quadratic", "sine"] == [each.name for each in first]
    for one, other in zip(first, second, strict=True):
        assert (20, 4, one.function.dim) == one.data.shape
        assert np.array_equal(one.data, other.data)


@pytest.mark.slow
def test_the_whole_benchmark_runs(tmp_path: Path, folder: Path) -> None:
    """With a folder in the environment: every goal has an outcome, every row is in the report, a picture is drawn."""
    out = tmp_path / "out"
    done = run("--smoke", "--out", str(out), HEFLWR_AUTOMON_DATA=str(folder))
    assert 0 == done.returncode, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert "recorded" == results["source"]
    assert 6 == len(results["rows"])
    assert len(results["goals"]) > 10
    for goal in results["goals"]:
        assert goal["outcome"] in ("reached", "not reached", "not measured")
    text = (out / "results.md").read_text()
    assert text in done.stdout
    assert all(name in text for name in ORDER)
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_without_data_it_says_where_they_must_be(tmp_path: Path) -> None:
    """No folder: it runs on generated data and tells how to name one."""
    done = run("--smoke", "--out", str(tmp_path))
    assert 0 == done.returncode, done.stderr
    assert "--data or HEFLWR_AUTOMON_DATA" in done.stderr
    assert "generated data" in (tmp_path / "results.md").read_text()
