"""The Redis relay against a real server: the same events, several readers, losses that are told, restarts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.keyframes import Keyframes, Rejoining
from adapters.redis_relay import PUBLISHER, Publishing, RedisSource, open_address, publish
from adapters.transports.redis_streams import Address, Link, entry_of, fields_of
from replay.cli import main
from replay.errors import ConfigError, DataError, TransportError
from replay.events import BOOK, CLEAR, GAP, LAST, REPAIRED, empty_events
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import ArraySource, open_stream
from replay.testing import synthetic_events
from tests.cache.conftest import server, url
from tests.cache.redis_server import RedisServer
from tests.oracles.book import OracleBook

__all__ = ["server", "url"]

BOTH = (
    Instrument("test", "A", "linear", Decimal("0.05"), Decimal("0.001")),
    Instrument("test", "B", "inverse", Decimal("10"), Decimal("1"), Decimal("100"), "BTC"),
)
NAMES = itertools.count()
Market = np.ndarray


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_events(BOTH, messages=4_000, gap_every=60)


@pytest.fixture
def address(url: str) -> Address:
    """A stream of the test's own."""
    return Address.of(f"{url}?stream=test{next(NAMES)}&start=begin")


class Scripted:
    """A source that hands out batches of `rows` and calls `script[i]` before the i-th."""

    def __init__(self, events: Market, rows: int, script: dict[int, Callable[[], object]]) -> None:
        self.name, self.instruments, self.events, self.rows, self.script = "scripted", BOTH, events, rows, script
        self.horizon_us, self.quality = 10_000, QualityReport()

    def batches(self, rows: int = 0) -> Iterator[np.ndarray]:
        for i, batch in enumerate(ArraySource(self.events, BOTH).batches(self.rows)):
            self.script.get(i, lambda: None)()
            yield batch


def read(source: RedisSource) -> Market:
    return np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches())])


Held = dict[int, OracleBook | None]


def books(events: Market, held: Held | None = None) -> Held:
    """What a reader holds at the end, who held `held` before; None where a book is invalid."""
    held = {} if held is None else held
    for row in events:
        i = int(row["instrument"])
        if row["kind"] == GAP:
            held[i] = None
        elif row["kind"] == BOOK:
            if row["flags"] & CLEAR:
                held[i] = OracleBook()
            book = held.get(i)
            if book is not None and row["side"]:
                book.set(int(row["side"]), int(row["price"]), int(row["qty"]))
    return held


def rows_before(events: Market, rows: int, batch: int) -> int:
    """Rows before the batch of that number."""
    return sum(len(each) for each in itertools.islice(ArraySource(events, BOTH).batches(rows), batch))


def levels(book: OracleBook | None) -> list[object]:
    return [] if book is None else [book.levels(1), book.levels(-1)]


def same_books(mine: Market, theirs: Market) -> None:
    a, b = books(mine), books(theirs)
    assert {i: levels(book) for i, book in a.items()} == {i: levels(book) for i, book in b.items()}
    assert any(book is not None for book in a.values())


def test_all_events_arrive_for_every_reader(market: Market, address: Address) -> None:
    done = publish(ArraySource(market, BOTH, "market"), address, Publishing(rows=500, keyframe_rows=2_000))
    assert (done.rows, done.outages) == (len(market), 0) and done.keyframes >= 3
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: read(RedisSource(address)), range(3)))
    for events in found:
        assert events.tobytes() == market.tobytes()
    source = RedisSource(address)
    assert source.instruments == BOTH and source.horizon_us == ArraySource(market, BOTH).horizon_us
    assert read(source).tobytes() == read(source).tobytes()
    assert source.lag() == 0 and not source.quality.ignored


def test_readers_follow_while_it_is_published(market: Market, address: Address) -> None:
    how = Publishing(rows=100, keyframe_rows=1_000, keep=64, wait_for=("a", "b"), ahead=16)
    with ThreadPoolExecutor(3) as pool:
        sending = pool.submit(publish, ArraySource(market, BOTH), address, how)
        readers = [pool.submit(lambda n=name: read(RedisSource(address, consumer=n))) for name in "ab"]
        for reader in readers:
            assert reader.result(60).tobytes() == market.tobytes()
        assert sending.result(60).left_behind == []


def test_nobody_is_run_away_from(market: Market, address: Address) -> None:
    how = Publishing(rows=100, keep=64, wait_for=("slow",), ahead=8, patience_s=0.3)
    link = Link(address)
    done = publish(ArraySource(market, BOTH), address, how)
    assert done.left_behind == ["slow"]
    source = RedisSource(address)
    events = read(source)
    link.close()
    assert events["kind"][:2].tolist() == [GAP, GAP], "what was trimmed is told"
    came = len(events) - 2 - np.count_nonzero(events["flags"] & REPAIRED)
    assert source.rows_lost + came == len(market)
    assert source.quality.ignored["row lost in the relay"] == source.rows_lost > 0


def trimmed(address: Address, keep: int) -> None:
    link = Link(address)
    link.ask(lambda client: client.xtrim(address.stream, maxlen=keep, approximate=False))
    link.close()


def test_who_joins_late_gets_a_keyframe(market: Market, address: Address) -> None:
    quiet = synthetic_events(BOTH, messages=4_000)  # its only snapshots are at the beginning
    publish(ArraySource(quiet, BOTH), address, Publishing(rows=100, keyframe_rows=1_000))
    trimmed(address, 15)
    source = RedisSource(address)
    events = read(source)
    same_books(events, quiet)
    joined = np.flatnonzero(events["flags"] & REPAIRED)
    assert len(joined) and events["kind"][:2].tolist() == [GAP, GAP]
    assert (np.diff(events["ts"]) >= 0).all() and (events["exch_ts"] >= events["ts"] - source.horizon_us).all()
    tail = quiet[-100:]
    assert events[-100:].tobytes() == tail.tobytes()
    assert [gap.repair for gap in source.quality.gaps] == ["snapshot", "snapshot"]
    source.books.check()


def test_a_reader_that_trimming_overtakes_is_told(market: Market, address: Address) -> None:
    publish(ArraySource(market, BOTH), address, Publishing(rows=50, keyframe_rows=500))
    source = RedisSource(address)
    batches = source.batches()
    events = [next(batches).copy() for _ in range(3)]
    trimmed(address, 20)
    events += [batch.copy() for batch in batches]
    together = np.concatenate(events)
    same_books(together, market)
    assert source.rows_lost > 0 and together[:150].tobytes() == market[:150].tobytes()


def test_another_source_goes_on_where_one_stopped(market: Market, address: Address) -> None:
    publish(ArraySource(market, BOTH), address, Publishing(rows=200, keyframe_rows=1_000))
    first = RedisSource(address)
    batches = first.batches()
    head = [next(batches).copy() for _ in range(7)]
    rest = read(RedisSource(address, start=first.last_id))
    assert np.concatenate([*head, rest]).tobytes() == market.tobytes()


def test_a_named_consumer_resumes_without_trusting_its_books(address: Address) -> None:
    quiet = synthetic_events(BOTH, messages=4_000)
    publish(ArraySource(quiet, BOTH), address, Publishing(rows=100, keyframe_rows=1_000))
    first = RedisSource(address, consumer="bot")
    batches = first.batches()
    for _ in range(20):
        next(batches)
    again = RedisSource(address, consumer="bot", start="resume")
    events = read(again)
    assert again.rows_lost == 0
    assert len(events) < len(quiet) and events["kind"][:2].tolist() == [GAP, GAP]
    same_books(events, quiet)
    now = RedisSource(address, start="now", idle_s=0.2)
    with pytest.raises(TransportError, match=r"nothing has come for 0\.2 s"):
        read(now)


def test_a_restart_with_persistence_loses_nothing(market: Market, server: RedisServer) -> None:
    kept = ("--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "local")
    server.stop()
    server.start(*kept)
    address = Address.of(f"{server.url}?stream=durable")

    def restart() -> None:
        server.stop()
        server.start(*kept)

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(lambda: (s := RedisSource(address), read(s))[::-1])
        done = publish(Scripted(market, 100, {20: restart, 60: restart}), address, Publishing(keyframe_rows=1_000))
        events, source = reading.result(60)
    assert events.tobytes() == market.tobytes()
    assert done.rows == len(market) and source.rows_lost == 0


def test_a_restart_without_its_data_is_told(server: RedisServer) -> None:
    quiet = synthetic_events(BOTH, messages=4_000)
    address = Address.of(f"{server.url}?stream=gone")

    def forget() -> None:
        server.stop()
        server.start()

    done = publish(Scripted(quiet, 100, {25: forget}), address, Publishing(keyframe_rows=1_000))
    source = RedisSource(address)
    events = read(source)
    assert done.rows == len(quiet) and source.rows_lost == rows_before(quiet, 100, 25)
    assert events["kind"][:2].tolist() == [GAP, GAP]
    same_books(events, quiet)


def test_a_live_source_that_is_quiet_sends_nothing(market: Market, address: Address) -> None:
    class Quiet(Scripted):
        def batches(self, rows: int = 0) -> Iterator[np.ndarray]:
            for batch in super().batches():
                yield from (empty_events(0), batch, empty_events(0))

    quiet, plain = (publish(kind(market, 100, {}), address, Publishing(rows=100)) for kind in (Quiet, Scripted))
    assert quiet.entries == plain.entries
    assert read(RedisSource(address)).tobytes() == market.tobytes()


def test_a_full_redis_is_waited_for(market: Market, server: RedisServer) -> None:
    client = server.client()
    address = Address.of(f"{server.url}?stream=full")

    def fill() -> None:
        client.config_set("maxmemory", 1)

    def relieve(_: float) -> None:
        client.config_set("maxmemory", 0)

    link = Link(address, sleep=relieve)
    done = publish(Scripted(market, 100, {10: fill}), address, Publishing(), link=link)
    link.close()
    assert done.rows == len(market) and link.outages == 1
    assert read(RedisSource(address)).tobytes() == market.tobytes()
    client.config_set("maxmemory", 1)
    with pytest.raises(TransportError, match="is full"):
        publish(ArraySource(market, BOTH), address, Publishing(patience_s=0.05))
    client.close()


def test_a_new_session_goes_on_and_invalidates_the_books(address: Address) -> None:
    quiet = synthetic_events(BOTH, messages=2_000)
    half = int(np.flatnonzero(quiet["flags"][: len(quiet) // 2] & LAST)[-1]) + 1

    def crash() -> None:
        raise RuntimeError("the recorder died")

    with pytest.raises(RuntimeError):
        publish(Scripted(quiet[:half], 100, {5: crash}), address)
    with pytest.raises(TransportError, match="the publisher failed: the recorder died"):
        read(RedisSource(address))
    source = RedisSource(address)
    publish(ArraySource(quiet, BOTH), address)
    assert read(source).tobytes() == quiet.tobytes(), "the session of now is read from its beginning"


def test_a_second_publisher_ends_the_first(market: Market, address: Address) -> None:
    def intrude() -> None:
        publish(ArraySource(market, BOTH), address, Publishing(rows=300))

    with pytest.raises(TransportError, match="another publisher has begun"):
        publish(Scripted(market, 100, {10: intrude}), address)
    assert read(RedisSource(address)).tobytes() == market.tobytes()


def test_a_damaged_entry_is_a_loss(address: Address) -> None:
    quiet = synthetic_events(BOTH, messages=4_000)
    link = Link(address)

    def spoil() -> None:
        def work(client: object) -> None:
            newest = client.xrevrange(address.stream, count=1)[0][0].decode()  # type: ignore[attr-defined]
            session, number = newest.split("-")
            client.xadd(address.stream, {"b": b"tkrb rubbish"}, f"{session}-{int(number) + 1}")  # type: ignore[attr-defined]

        link.ask(work)

    publish(Scripted(quiet, 100, {11: spoil}), address, Publishing(rows=1_000, keyframe_rows=1_000))
    link.close()
    source = RedisSource(address)
    events = read(source)
    assert source.damaged == 1
    assert source.rows_lost == rows_before(quiet, 100, 12) - rows_before(quiet, 100, 11)
    assert np.count_nonzero(events["kind"] == GAP) == 2
    same_books(events, quiet)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://x?stream=a", "is not a Redis"),
        ("redis://x/0", "names no stream"),
        ("redis://x/0?stram=a", "names no stream"),
    ],
)
def test_addresses_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Address.of(text)


def test_addresses_hide_the_password() -> None:
    address = Address.of("redis://me:secret@h:1/2?stream=a&db=3&idle=5")
    assert (str(address), address.url) == ("h:1/2 stream a", "redis://me:secret@h:1/2?db=3")
    assert address.options == {"idle": "5"}
    with pytest.raises(ConfigError) as told:
        Address.of("redis://me:secret@h:1/2")
    assert "secret" not in str(told.value)


def test_mistakes_are_told(address: Address) -> None:
    with pytest.raises(TransportError, match="nobody publishes there"):
        RedisSource(address, patience_s=0.0)
    with pytest.raises(TransportError, match="does not answer"):
        RedisSource(Address.of("redis://127.0.0.1:1/0?stream=a"), patience_s=0.05)
    with pytest.raises(ConfigError, match="needs the name of a consumer"):
        RedisSource(address, start="resume")
    with pytest.raises(ConfigError, match="is no id of an entry"):
        RedisSource(address, start="yesterday")
    with pytest.raises(ConfigError, match="is too little to be 256"):
        Publishing(keep=10, wait_for=("a",))
    with pytest.raises(ConfigError, match="scheme of no stream"):
        open_stream("carrier-pigeon://a")
    link = Link(address)
    link.ask(lambda client: client.set(address.about, '{"format":99}'))
    with pytest.raises(DataError, match="another version"):
        RedisSource(address)
    link.close()


def test_the_commands(
    market: Market, address: Address, url: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    PUBLISHER.publish(ArraySource(market, BOTH), f"{url}?stream=first", lambda rows: None, rows=1_000)
    text = f"{url}?stream={address.stream}"
    assert main(["relay", "publish", text, "--from", f"{url}?stream=first&idle=30", "--rows", "500"]) == 0
    assert f"{len(market):,} rows in" in capsys.readouterr().out
    assert read(open_address(f"{text}&consumer=bot")).tobytes() == market.tobytes()
    assert main(["relay", "status", text]) == 0
    out = capsys.readouterr().out
    assert "test:A, test:B" in out and "consumer bot: 0 entries behind" in out
    assert main(["run", "--from", text, "--strategy", "strategies.imbalance:Imbalance", "--json"]) == 0
    assert main(["relay", "publish", text]) == 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 50), cut=st.lists(st.booleans(), min_size=8, max_size=40), every=st.integers(1, 6))
def test_whatever_is_lost_books_are_right_or_invalid(seed: int, cut: Sequence[bool], every: int) -> None:
    """A reader that misses any batches never holds a valid book that differs from the sender's."""
    events = synthetic_events(BOTH, seed=seed, messages=300, gap_every=25)
    sender, reader = Keyframes(2, 10_000), Rejoining(BOTH, 10_000)
    theirs, mine, lost = Held(), Held(), False
    for i, (batch, drop) in enumerate(zip(ArraySource(events, BOTH).batches(12), itertools.cycle(cut))):
        sender.push(batch)
        books(batch, theirs)
        if drop:
            lost = True
            continue
        if lost:
            books(reader.lost(int(batch["ts"][0])), mine)
            lost = False
        books(reader.pushed(batch), mine)
        if i % every == 0:
            books(reader.restored(sender.rows(int(batch["ts"][-1]))), mine)
        reader.check()
        sender.check()
        for k, book in mine.items():
            if book is not None:
                assert levels(book) == levels(theirs[k])


def test_entries_survive_the_way(market: Market) -> None:
    fields = {k: v if isinstance(v, bytes) else str(v).encode() for k, v in fields_of(b"b", 7, market).items()}
    entry = entry_of((5, 6), fields, 2)
    assert entry.events is not None and entry.events.tobytes() == market.tobytes()
    assert (entry.id, entry.rows_before) == ((5, 6), 7)
    assert entry_of((5, 6), fields, 1).events is None
    for at in range(0, len(fields[b"b"]), 997):
        spoilt = bytearray(fields[b"b"])
        spoilt[at] ^= 1
        assert entry_of((5, 6), {**fields, b"b": bytes(spoilt)}, 2).events is None
