"""What all JSON venues share, on a venue made for it: tables, sources, live decoders, losses, drops."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Filled, FillGap, Resubscribe
from adapters.decoders.parsed import Parsed, levels, other, record, side_of, symbol_of, whole
from adapters.sequencing import Drop
from adapters.transports.file import Chunk
from adapters.venue import Messages, Terms, Venue, VenueAdapter
from replay.errors import ConfigError, DataError
from replay.events import BOOK, CLEAR, GAP, LAST, REPAIRED, SNAPSHOT, TRADE, empty_events
from replay.instruments import Instrument
from replay.kernel import scan

START_NS = 1_723_161_255_000_000_000
A = Instrument("toy", "A", "linear", Decimal("0.1"), Decimal(1))
B = Instrument("toy", "B", "linear", Decimal("0.1"), Decimal(1))


class Toy(Messages):
    """`{"k":"book"|"delta"|"trade"|"names","s":…,"id":…,"prev":…,"b":…,"a":…,"good":…}`."""

    def read(self, message: Any, received_ns: int) -> Iterable[Parsed]:
        if not isinstance(message, dict) or "k" not in message:
            return [other("no toy")]
        if message["k"] == "names":
            name = symbol_of(message)
            self.stated[name] = Instrument("toy", name, "linear", Decimal("0.01"), Decimal(1), Decimal(5))
            return []
        kind = side_of(message, "k", {"book": scan.RESET, "delta": scan.DEPTH, "trade": scan.TRADE})
        number, symbol = whole(message, "id"), symbol_of(message)
        bids = levels(message, "b")
        if kind == scan.TRADE:
            return [
                Parsed(kind, symbol, venue_us=received_ns // 1000, last_id=number, side=1, bids=[each]) for each in bids
            ]
        check = (lambda: False) if message.get("good") is False else None
        prev = message.get("prev", -1)
        return [Parsed(kind, symbol, 0, received_ns // 1000, number, number, prev, bids=bids,
                       asks=levels(message, "a"), check=check)]  # fmt: skip

    def sent_ns(self, message: Any) -> int:
        return whole(record(message, "head"), "ns")

    def answer(self, url: str, body: bytes) -> bytes | None:
        return b'{"k":"names","s":%s}' % body if url.endswith("/names") else None


TOY = VenueAdapter(Venue("toy", Toy, lambda symbol: Terms("linear", "USDT"), re.compile(r"toy\.com/.*")))


def toy(kind: str, number: int = 1, symbol: str = "A", **more: Any) -> dict[str, Any]:
    """A message with one bid and one ask."""
    return {"k": kind, "s": symbol, "id": number, "b": [["10.0", number]], "a": [["10.1", 2]], **more}


def lines(messages: Iterable[Any]) -> list[str]:
    """Each message 1 ms after the one before."""
    return [f"{START_NS + i * 1_000_000} {orjson.dumps(m).decode()}" for i, m in enumerate(messages)]


def events_of(source: Any, rows: int = 32_768) -> np.ndarray:
    """All rows of a source."""
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


STREAM = [
    toy("delta", 3, prev=2),
    toy("book", 4),
    toy("delta", 7, prev=4),
    toy("delta", 7, prev=4),
    toy("trade", 5),
    toy("book", 20, "B"),
    toy("delta", 9, prev=8),
    toy("delta", 10, prev=9),
    toy("delta", 22, "B", prev=20),
    toy("book", 2),
    toy("delta", 3, prev=2),
    {"hello": 1},
]
"""Early delta, duplicate, hole in A alone, repaired by a book with smaller numbers."""


def test_a_recording_becomes_events(write: Callable[..., Path]) -> None:
    source = TOY.open([write(*lines(STREAM))])
    events = events_of(source)
    starts = events[np.flatnonzero(np.r_[1, events["flags"][:-1] & LAST])]
    assert [(row["kind"], row["instrument"], row["seq"]) for row in starts] == [
        (BOOK, 0, 4), (BOOK, 0, 7), (TRADE, 0, 5), (BOOK, 1, 20), (GAP, 0, 7), (BOOK, 1, 22), (BOOK, 0, 2),
        (BOOK, 0, 3),
    ]  # fmt: skip
    gap, repaired = starts[4], starts[6]
    assert gap["value"] == 9
    assert repaired["flags"] & (SNAPSHOT | CLEAR | REPAIRED) == SNAPSHOT | CLEAR | REPAIRED
    quality = source.quality
    a, b = quality.instruments["toy:A"], quality.instruments["toy:B"]
    assert (a.breaks, a.duplicates, a.snapshots, a.applied, a.book_state) == (1, 1, 2, 2, "live")
    assert (b.breaks, b.applied) == (0, 1)
    assert quality.ignored == {"no toy": 1}
    assert [(found.instrument, found.blind_us, found.repair) for found in quality.gaps] == [
        ("toy:A", 3_000, "snapshot")
    ]
    source.sequencer.check()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_size_of_batches_changes_nothing(write: Callable[..., Path], rows: int) -> None:
    source = TOY.open([write(*lines(STREAM))])
    assert events_of(source, rows).tobytes() == events_of(source).tobytes()


def test_live_frames_give_the_events_of_their_recording(write: Callable[..., Path]) -> None:
    lost = {"replay": "disconnected", "symbols": ["B"]}
    stream = [*STREAM[:7], lost, toy("delta", 23, "B", prev=22), toy("book", 30, "B"), {"replay": "disconnected"}]
    source = TOY.open([write(*lines(stream))])
    decoder, got = TOY.decoder(source.instruments, timing=source.survey.timing), []
    for line in lines(stream):
        ns, _, text = line.partition(" ")
        decoder.feed(text.encode(), int(ns), lambda batch: got.append(batch.copy()))
    assert np.concatenate(got).tobytes() == events_of(source).tobytes()
    assert decoder.quality == source.quality
    assert [gap.instrument for gap in decoder.quality.gaps] == ["toy:A", "toy:B", "toy:B"]


def test_a_hole_asks_for_one_symbol_once() -> None:
    decoder = TOY.decoder([A, B])

    def feed(message: Any) -> list[str]:
        decoder.feed(orjson.dumps(message), START_NS, lambda batch: None)
        wishes = decoder.commands()
        assert all(isinstance(wish, Resubscribe) for wish in wishes)
        return [wish.symbol for wish in wishes]

    assert feed(toy("delta", 1)) == ["A"], "a delta without a book"
    assert feed(toy("book", 4)) == []
    assert feed(toy("book", 4, "B")) == []
    assert feed(toy("delta", 9, prev=8)) == ["A"]
    assert feed(toy("delta", 10, prev=9)) == []
    assert feed(toy("book", 12)) == []
    assert feed(toy("delta", 13, prev=12, good=False)) == ["A"], "a wrong checksum"
    assert feed({"replay": "disconnected"}) == [], "whoever connects again subscribes anyway"
    assert [gap.last_good_id for gap in decoder.quality.gaps] == [4, 12, 4]
    decoder.feed(b"pong", START_NS, lambda batch: None)
    assert decoder.quality.ignored == {"pong": 1}


def test_what_is_left_out_on_purpose_is_not_checked(write: Callable[..., Path]) -> None:
    stream = [toy("book", 1), *[toy("delta", n, prev=n - 1, good=n != 3) for n in range(2, 8)]]
    source = TOY.open([write(*lines(stream))], drop_every=3, drop_from=1)
    assert events_of(source)["seq"].tolist() == [1, 1, 2, 2, 2]
    assert [(gap.last_good_id, gap.next_id) for gap in source.quality.gaps] == [(2, 3)], "message 3 was wrong first"
    source = TOY.open([write(*lines(stream))], drop_every=1, drop_from=1)
    events_of(source)
    assert source.quality.gaps == [], "nothing came after what was dropped"


def test_messages_of_each_recording_are_numbered_apart_for_dropping(write: Callable[..., Path]) -> None:
    stream = [toy("book", 1), *[toy("delta", n, prev=n - 1) for n in range(2, 7)]]
    other = [{**message, "s": "B"} for message in stream]
    paths = [write(*lines(each), name=name) for name, each in (("a", stream), ("b", other))]
    apart = TOY.open(paths, drop_every=2, drop_from=1)
    events_of(apart)
    assert [(gap.last_good_id, gap.next_id) for gap in apart.quality.gaps] == [(3, 5), (3, 5)]
    mixed = [message for pair in zip(stream, other) for message in pair]
    together = TOY.open([write(*lines(mixed), name="mixed")], drop_every=2, drop_from=1)
    events_of(together)
    assert [(gap.instrument, gap.last_good_id) for gap in together.quality.gaps] == []
    assert [q.depth_messages for q in together.quality.instruments.values()] == [1, 5], "every second one is of A"


def test_files_of_one_symbol_are_one_recording(write: Callable[..., Path]) -> None:
    text = lines([toy("book", 1), toy("book", 1, "B"), toy("delta", 2, prev=1), toy("delta", 2, "B", prev=1)])
    whole = TOY.open([write(*text)])
    early, late = write(*text[:2], name="early"), write(*text[2:], name="late")
    assert events_of(TOY.open([late, early])).tobytes() == events_of(whole).tobytes()
    only_a, only_b = write(*text[::2], name="a"), write(*text[1::2], name="b")
    assert events_of(TOY.open([only_a, only_b])).tobytes() == events_of(whole).tobytes()


def test_lines_without_a_local_time_were_sent_at_some(write: Callable[..., Path]) -> None:
    stream = [toy("book", 1), toy("delta", 2, prev=1)]
    timed = [{**m, "head": {"ns": START_NS + i * 1_000_000}} for i, m in enumerate(stream)]
    bare = TOY.open([write(*(orjson.dumps(m).decode() for m in timed))])
    assert events_of(bare).tobytes() == events_of(TOY.open([write(*lines(stream), name="x")])).tobytes()
    with pytest.raises(DataError, match="head"):
        TOY.open([write(orjson.dumps(stream[0]).decode(), name="y")])


def test_cryptofeed_recordings_may_state_instruments(write: Callable[..., Path]) -> None:
    seconds = [f"{START_NS // 10**9 + i}.5: {orjson.dumps(toy('book', i)).decode()}" for i in range(1, 3)]
    rest = write(f'https://toy.com/names -> {START_NS // 10**9}.5: "A"', name="rest")
    socket = write("wss://toy.com/ws <-> 1723161255.25", *seconds, name="socket")
    (instrument,) = TOY.open([rest, socket]).instruments
    assert (instrument.multiplier, instrument.tick) == (5, Decimal("0.01"))
    (inferred,) = TOY.open([socket]).instruments
    assert (inferred.multiplier, inferred.tick) == (1, Decimal("0.1"))
    assert TOY.open([rest, socket], instruments=[A]).instruments == (A,)
    with pytest.raises(DataError, match="no server of toy") as caught:
        TOY.open([write("wss://other.com/ws <-> 1.5", *seconds, name="other")])
    assert caught.value.line == 1


def test_errors_name_the_place(write: Callable[..., Path]) -> None:
    for bad, problem in (('{"k":', "JSON"), ('{"k":"book"}', "field 'id'"), ("x", "JSON")):
        path = write(*lines([toy("book")]), f"{START_NS} {bad}")
        with pytest.raises(DataError, match=problem) as caught:
            TOY.open([path])
        assert (caught.value.path, caught.value.line) == (str(path), 2)
    with pytest.raises(DataError, match="truncated"):
        TOY.open([write(*lines([toy("book")]), f'{START_NS} {{"k":', end="")])
    with pytest.raises(DataError, match="no market data"):
        TOY.open([write(f"{START_NS} pong")])
    with pytest.raises(ConfigError, match="depth"):
        TOY.open([write(*lines(STREAM))], depth=3)
    packed = write(*lines(STREAM), name="packed")
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    assert len(events_of(TOY.open([packed]))) > 5


def test_a_filler_brings_what_is_missing(write: Callable[..., Path]) -> None:
    """A hole is filled up to the predecessor of the message behind it; a loss without such a message stays open."""
    asked: list[FillGap] = []

    def filler(gap: FillGap) -> Filled:
        asked.append(gap)
        return Filled(gap.last_id, (((100, 1), (9, 0)),), ())

    lost = {"replay": "disconnected", "symbols": ["A", "B"]}
    stream = [toy("book", 4), toy("delta", 9, prev=8), toy("delta", 10, prev=9), lost, toy("delta", 11, prev=10)]
    source = TOY.open([write(*lines(stream))], repair="refetch", filler=filler)
    assert [(row["kind"], row["seq"]) for row in events_of(source) if row["flags"] & LAST] == [
        (BOOK, 4), (GAP, 4), (BOOK, 8), (BOOK, 9), (BOOK, 10), (GAP, 10),
    ]  # fmt: skip
    assert asked == [FillGap("A", 5, 8)]
    assert [gap.repair for gap in source.quality.gaps] == ["refetch", ""]
    assert source.quality.of("toy:A").anomalies == {"gap not filled: nobody knows what is missing": 1}
    assert [instrument.symbol for instrument in source.instruments] == ["A"], "a loss names no new symbol"
    source.sequencer.check()


@given(st.data())
def test_live_decoding_is_the_same_however_symbols_interleave(data: st.DataObject) -> None:
    """The rows of one symbol do not depend on what another symbol's messages do in between."""
    alone = [message for message in STREAM if message.get("s") == "A"]
    places = data.draw(st.lists(st.integers(0, len(alone)), max_size=8))
    mixed: list[tuple[int, dict[str, Any]]] = [(i, m) for i, m in enumerate(alone)]
    for number, place in enumerate(sorted(places, reverse=True)):
        mixed.insert(place, (-1, toy("delta", data.draw(st.integers(0, 30)), "B", prev=number)))

    def rows_of(stream: Iterable[tuple[int, dict[str, Any]]]) -> np.ndarray:
        decoder, got = TOY.decoder([A, B]), [empty_events(0)]
        for i, message in stream:
            decoder.feed(orjson.dumps(message), START_NS + max(0, i) * 1000, lambda batch: got.append(batch.copy()))
        rows = np.concatenate(got)
        return rows[rows["instrument"] == 0]

    both, one = rows_of(mixed), rows_of(enumerate(alone))
    for name in ("seq", "price", "qty", "value", "kind", "side"):
        assert both[name].tolist() == one[name].tolist()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(lines(STREAM)).map(str.encode),
            st.tuples(st.integers(0, 60), st.binary(max_size=4)).map(
                lambda cut: lines(STREAM)[1].encode()[: cut[0]] + cut[1] + lines(STREAM)[1].encode()[cut[0] :]
            ),
        ),
        max_size=6,
    )
)
def test_any_file_is_read_or_refused_with_a_place(texts: list[bytes]) -> None:
    """Whatever stands in a recording: its messages, or a DataError that names the line."""
    reader = TOY.reader((), True, Drop(), ())
    chunk = Chunk(b"\n".join(texts).replace(b"\r", b" ") + b"\n", "file")
    try:
        counts = list(reader.tables(chunk))
    except DataError as error:
        assert error.path == "file" and 1 <= error.line <= chunk.data.count(b"\n")
    else:
        assert sum(counts) <= chunk.data.count(b"\n") * max(1, len(reader.symbols))
