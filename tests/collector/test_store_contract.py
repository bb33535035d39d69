"""What a store promises, whatever database is under it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from heflwr.collector import Store, StoreFailed, StoreUnavailable
from heflwr.collector.records import (
    FunctionBatch,
    FunctionPoint,
    Line,
    LineBatch,
    Refusal,
    Row,
    SampleBatch,
    Window,
)
from heflwr.collector.series import summaries
from heflwr.collector.store import functions, reading, rolling, rollups, tokens, windows, writing

T0 = 1_700_000_040.0
"""A minute begins here."""


def batch(
    first: int = 0, count: int = 3, *, identifier: str = "a", run: str = "r", at: float = T0, **more: Any
) -> SampleBatch:
    rows = tuple(Row(sequence, at + sequence, (float(sequence), None)) for sequence in range(first, first + count))
    return SampleBatch(identifier, run, ("threads", "open_files"), rows, more.pop("about", {}), **more)


def stored(store: Store, **filters: Any) -> list[dict[str, Any]]:
    everything = {"identifier": None, "run": None, "since": 0.0, "until": 1e10, "metrics": (), "limit": 100_000}
    return store.samples(**{**everything, **filters})[0]


def sequences(store: Store, **filters: Any) -> list[int]:
    return [sample["sequence"] for sample in stored(store, **filters)]


def buckets(store: Store, level: int) -> dict[int, tuple[float, float, float, float, float]]:
    """The rollups of the only run's first metric, the chunks that are not rolled up yet included."""
    found: dict[int, rollups.Rollup] = {}
    with store.reading() as reader:
        (run,) = reading.runs(reader)
        for bucket, _, rollup in reading.buckets_of(reader, run.id, level, 0, 1 << 40):
            if bucket in found:
                found[bucket].merge(rollup)
            else:
                found[bucket] = rollup
    return {bucket: (r.counts[0], r.lows[0], r.sums[0], r.highs[0], r.lasts[0]) for bucket, r in sorted(found.items())}


def test_samples_come_out_as_they_went_in(store: Store) -> None:
    """Numbers, gaps and their order in time survive."""
    assert store.add_samples(batch()) == 3
    assert stored(store)[1] == {
        "identifier": "a",
        "run": "r",
        "sequence": 1,
        "time": T0 + 1,
        "values": {"threads": 1, "open_files": None},
    }


def test_what_came_before_is_known(store: Store) -> None:
    """Overlapping batches, in whatever order, leave each sample once; the first one stands."""
    assert store.add_samples(batch(10, 5)) == 5
    assert store.add_samples(batch(8, 4)) == 2
    assert store.add_samples(batch(0, 20), batch(0, 20)) == 13
    assert store.add_samples(batch(0, 20, run="other")) == 20
    assert sequences(store, run="r") == list(range(20))


def test_a_store_is_found_again(place: Any) -> None:
    """What was stored is there after a restart, and still known."""
    for accepted in (3, 0):
        with Store(place) as store:
            assert store.add_samples(batch()) == accepted


def test_rollups_are_exact_at_any_moment(store: Store) -> None:
    """Before, between and after rolling up, and with samples that come late, buckets hold what raw samples hold."""
    expected = {int(T0) // 60: (60, 0, 1770, 59, 59), int(T0) // 60 + 1: (40, 60, 3180, 99, 99)}
    store.add_samples(batch(0, 50))
    store.roll()
    store.add_samples(batch(90, 10))
    store.roll()
    store.add_samples(batch(50, 40))  # late
    assert buckets(store, 60) == expected
    store.roll()
    assert buckets(store, 60) == expected
    assert buckets(store, 14_400) == {int(T0) // 14_400: (100, 0, 4950, 99, 99)}
    with store.reading() as reader:
        assert reading.runs(reader)[0].late == 1


def test_compacting_changes_nothing_that_can_be_seen(store: Store) -> None:
    """Small chunks are merged, and samples, buckets and duplicates are as before."""
    for first in (30, 0, 10, 20, 40):
        store.add_samples(batch(first, 10))
    before = stored(store), buckets(store, 60)
    store.compact()
    with store.reading() as reader:
        assert reader.execute("SELECT count(*) FROM chunks").fetchone()[0] == 1
    assert (stored(store), buckets(store, 60)) == before
    assert store.add_samples(batch(0, 51)) == 1
    store.compact()
    assert buckets(store, 60)[int(T0) // 60][0] == 51


def test_old_samples_are_forgotten_and_their_sums_stay(place: Any) -> None:
    """Raw samples go after their days; their buckets stay, and whoever sends them again stores nothing."""
    with Store(place, raw_days=1e-9) as store:
        store.add_samples(batch())
        store.add_lines(LineBatch("a", None, (Line("x"),)))
        time.sleep(0.01)
        store.compact()
        assert stored(store) == []
        assert store.lines(identifier=None, since=0.0, until=1e10, limit=10) == ([], False)
        assert buckets(store, 60) == {int(T0) // 60: (3, 0, 3, 2, 2)}
        assert store.add_samples(batch()) == 0
        assert store.add_samples(batch(3, 1)) == 1


def test_minutes_are_forgotten_by_the_age_they_have_on_the_senders_clock(place: Any) -> None:
    """A board whose clock is fifty years slow keeps its minutes as long as any other."""
    with Store(place, minute_days=1.0) as store:
        store.add_samples(batch(0, 1, at=1000.0), batch(1, 1, at=1000.0 + 3 * 86400))
        store.compact()
        assert list(buckets(store, 60)) == [(1000 + 3 * 86400) // 60]
        assert len(buckets(store, 14_400)) == 2


def test_identifiers_are_limited(place: Any) -> None:
    """One more than allowed is refused, whatever it sends; those that are known go on."""
    with Store(place, clients_max=2) as store:
        store.add_samples(batch(identifier="a"))
        store.add_lines(LineBatch("b", None, (Line("x"),)))
        window = (Window("w", 1.0, None, {}),)
        for refused in (
            lambda: store.add_samples(batch(identifier="c")),
            lambda: store.add_samples(SampleBatch("c", "r", (), (), {}, window)),
            lambda: store.add_lines(LineBatch("c", None, (Line("x"),))),
        ):
            with pytest.raises(Refusal, match="takes 2 identifiers") as caught:
                refused()
            assert caught.value.status == 429
        assert store.add_samples(batch(3, identifier="a")) == 3
        assert {sample["identifier"] for sample in stored(store)} == {"a"}


def test_a_refused_call_leaves_no_trace(place: Any) -> None:
    """Of several batches in one call, all are stored or none."""
    with Store(place, clients_max=1) as store:
        with pytest.raises(Refusal):
            store.add_samples(batch(identifier="a"), batch(identifier="b"))
        assert stored(store) == []
        assert store.add_samples(batch(identifier="b")) == 3


def test_batches_that_all_overlap_are_refused_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender cannot make the writer look through ever more of its batches; others go on."""
    monkeypatch.setattr(writing, "OVERLAPS_MAX", 3)
    for first in range(1, 5):
        rows = (Row(first, T0, (1.0,)), Row(1_000_000 - first, T0, (1.0,)))
        store.add_samples(SampleBatch("a", "r", ("threads",), rows, {}))
    with pytest.raises(Refusal, match="overlap"):
        store.add_samples(SampleBatch("a", "r", ("threads",), (Row(500, T0, (1.0,)),), {}))
    assert store.add_samples(batch(identifier="b")) == 3


def test_clients_and_runs_are_listed(store: Store) -> None:
    """The newest run of a client is the one whose samples are latest, also when an old one arrives after it."""
    store.add_samples(batch(run="new", at=T0 + 1000, about={"host": "h", "interval": 2}))
    store.add_samples(batch(run="old"))
    store.add_samples(batch(identifier="b"))
    with store.reading() as reader:
        (newest, _) = reading.newest_runs(reader, [], 10)
        assert (newest.run, newest.about["host"], newest.interval) == ("new", "h", 2)
        assert [client["runs"] for client in reading.clients(reader, 10)] == [1, 2]
        assert [run.run for run in reading.runs(reader, ["a"])] == ["new", "old"]
        assert reading.runs(reader, ["b"])[0].interval == 1.0


def test_the_summary_of_a_run_is_exact(store: Store) -> None:
    """Count, mean, extremes, last; a total only where adding up means something."""
    rows = tuple(Row(at, T0 + 1000 * at, (float(at), 10.0 * at)) for at in range(10))
    store.add_samples(SampleBatch("a", "r", ("cpu_usage", "network_bytes_sent"), rows, {}))
    with store.reading() as reader:
        cpu, sent = summaries(reader, reading.runs(reader)[0])
    assert (cpu["count"], cpu["mean"], cpu["min"], cpu["max"], cpu["last"], cpu["total"]) == (10, 4.5, 0, 9, 9, None)
    assert (sent["unit"], sent["total"]) == ("bytes", 450)


def test_windows_open_and_close(store: Store) -> None:
    """A window is known by name and start; its end is filled in, and never emptied."""
    for end in (None, T0 + 5, None):
        store.add_samples(SampleBatch("a", "r", (), (), {}, (Window("round 1", T0, end, {"k": "v"}),)))
    store.add_samples(batch(windows=(Window("round 2", T0 + 5, None, {}),)))
    with store.reading() as reader:
        found = windows.windows(reader, "a", "r", T0, T0 + 100, 10)
        assert windows.windows(reader, "b", None, 0.0, 1e10, 10) == []
        assert windows.windows(reader, None, None, T0 - 10, T0 - 5, 10) == []
    assert [(window["name"], window["end"]) for window in found] == [("round 2", None), ("round 1", T0 + 5)]
    assert found[1]["labels"] == {"k": "v"}


def test_points_of_functions_are_stored_once(store: Store) -> None:
    """A point is known by its sequence; the latest one tells what the function is worth now."""

    def points(*numbers: int) -> FunctionBatch:
        return FunctionBatch(
            "server",
            "x",
            tuple(
                FunctionPoint("f", "", "proved", "why", n, T0 + n, n, None if n == 1 else n, 0.1, None, 5, 0, 0, n, 9)
                for n in numbers
            ),
        )

    assert store.add_functions(points(0, 1)) == 2
    assert store.add_functions(points(2, 1, 0)) == 1
    with store.reading() as reader:
        (function,) = functions.functions(reader)
        found = functions.points(reader, "server", "x", "f", 0.0, 1e10, 10)
    assert (function["latest"]["value"], function["guarantee"]) == (2, "proved")
    assert [point["value"] for point in found] == [2, None, 0]


def test_tokens_are_kept_as_digests(store: Store) -> None:
    """A token is told once; of two of one name and kind the later counts; a revoked one is gone."""
    first, second = store.add_token("a", "write"), store.add_token("a", "write")
    reader_token = store.add_token("a", "read")
    with store.reading() as reader:
        kept = {token.digest: token.may for token in tokens.tokens(reader)}
    assert kept == {tokens.digest(second): "write", tokens.digest(reader_token): "read"}
    assert first not in str(kept)
    assert store.revoke_token("a") == 2
    assert store.revoke_token("a") == 0


def test_a_closed_store_fails_and_closes_again(place: Any) -> None:
    """Nothing is taken after close(), which may be called twice."""
    store = Store(place)
    store.open()
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.add_samples(batch())


def test_two_processes_of_one_database_do_not_count_twice(place: Any) -> None:
    """Whoever rolls up second finds that it is done."""
    with Store(place) as one, Store(place) as other:
        one.add_samples(batch())
        with other.reading() as reader:
            before = rolling.mark(reader, "rolled")
            chunks = rolling.tail(reader, before)
        one.roll()
        found = rolling.summed(chunks)
        assert other.writer.write(lambda writer: rolling.write(writer, found, before, chunks[-1][0])) is False
        assert buckets(one, 60) == {int(T0) // 60: (3, 0, 3, 2, 2)}


def test_a_server_that_is_not_there_is_named() -> None:
    """The address without its password, and the way out."""
    with pytest.raises(StoreUnavailable, match=r"cannot open postgresql://127\.0\.0\.1:1/x") as caught:
        Store("postgresql://me:secret@127.0.0.1:1/x").open()
    assert "secret" not in str(caught.value)


def test_a_server_that_was_away_is_found_again(postgres_server: str) -> None:
    """A broken connection costs one refused call; the sender comes again, and the store has connected anew."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as connection, Store(postgres_server) as store:
        connection.execute("DROP SCHEMA IF EXISTS heflwr CASCADE")
        store.close()
        store.open()
        store.add_samples(batch())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heflwr collector'"
        )
        with pytest.raises(StoreFailed):
            store.add_samples(batch(3))
        assert store.add_samples(batch()) == 0
        assert store.add_samples(batch(3)) == 3
        with contextlib.suppress(StoreFailed):  # a reader's connection may have been cut as well
            stored(store)
        assert sequences(store) == list(range(6))
