"""The fast scanner means exactly what the slow reader means: on every capture, and on mutilated lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.decoders.binance import Reader
from adapters.decoders.binance_lines import COINM, SPOT, USDM, Market
from adapters.transports.file import Chunk, read_chunks
from replay.errors import DataError
from replay.kernel import lexer, scan
from tests.conftest import INTERPRETED

CAPTURES = Path(__file__).parents[3].parent / "shared" / "captures"
FILES = [
    ("binance_usdm/btcusdt_20240808.gz", USDM),
    ("binance_usdm/ethusdt_20240808.gz", USDM),
    ("binance_coinm/btcusd_perp_20240808.gz", COINM),
    ("binance_spot/btcusdt_20240808.gz", SPOT),
    ("binance_spot/ethusdt_20240808.gz", SPOT),
]
NS = b"1723161256000000000 "
LINES = {
    USDM: [
        b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT",'
        b'"U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"],["61496.50","0"]],"a":[]}}',
        b'{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510",'
        b'"T":1723161256313,"E":1723161256313}',
        b'{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006",'
        b'"X":"MARKET","m":false}',
        b'{"lastUpdateId":5123107852948,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],'
        b'"asks":[["61800.30","1.100"]]}',
        b'{"stream":"btcusdt@depthSnapshot","generated":true,"data":{"lastUpdateId":7,"bids":[["1","2"]],"asks":[]}}',
        b'{"e":"markPriceUpdate","E":1597536008000,"s":"BTCUSDT","p":"11857.56","i":"11851.8","r":"-0.00015640",'
        b'"T":1597564800000}',
        b'{"e":"forceOrder","E":1584059031426,"o":{"s":"BTCUSDT","S":"BUY","o":"LIMIT","f":"IOC","q":"0.014",'
        b'"p":"4793.91","ap":"4706.04","X":"FILLED","l":"0.015","z":"0.014","T":1584059031421}}',
        b'{"e":"aggTrade","E":1568693103463,"s":"BTCUSDT","a":9,"p":"10223.74","q":"0.236","f":181349,"l":181349,'
        b'"T":1568693103463,"m":false}',
    ],
    SPOT: [
        b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
        b'"a":"61837.64000000","A":"1.54698000"}}',
        b'{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":1,"u":2,"b":[["61737.63000000","0.00000000"]],"a":[]}',
        b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000",'
        b'"T":1723161255342,"m":true,"M":true}',
        b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[]}',
    ],
}  # fmt: skip


def meaning(reader: Reader, count: int) -> list[tuple]:
    """Messages with their levels, without the places where the levels lie."""
    out = []
    for message in reader.messages[:count]:
        levels = tuple(
            tuple(reader.levels[message[start] : message[start] + message[size]].tolist())
            for start, size in (("bid_start", "bids"), ("ask_start", "asks"))
        )
        rest = tuple(message[name].item() for name in scan.MESSAGE.names if not name.endswith("_start"))
        out.append((*rest, levels))
    return out


def read(market: Market, data: bytes, fast: bool, symbols: tuple[str, ...] = ("BTCUSDT",)) -> object:
    """What a reader makes of `data`: the messages and what was ignored, or the error."""
    reader = Reader(market, symbols, fast=fast)
    out: list[tuple] = []
    try:
        for count in reader.tables(Chunk(data)):
            out += meaning(reader, count)
    except DataError as error:
        return error.problem, error.line
    return out, dict(reader.ignored)


@pytest.mark.parametrize(("name", "market"), FILES, ids=[name for name, _ in FILES])
def test_fast_equals_slow_on_captures(name: str, market: Market) -> None:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"no capture {path}")
    limit = 3 if not INTERPRETED else 1
    fast, slow = Reader(market, learn=True), Reader(market, learn=True, fast=False)
    for number, chunk in enumerate(read_chunks(path, 65_536 if INTERPRETED else 2_000_000)):
        if number >= limit:
            break
        for left, right in zip(fast.tables(chunk), slow.tables(chunk), strict=True):
            assert left == right
            for field in scan.MESSAGE.names:
                if not field.endswith("_start"):
                    assert (fast.messages[field][:left] == slow.messages[field][:left]).all(), field
            used = int(fast.cursor[0]["levels"])
            assert used == int(slow.cursor[0]["levels"])
            assert (fast.levels[:used] == slow.levels[:used]).all()
    assert fast.symbols == slow.symbols
    assert fast.ignored == slow.ignored


def test_the_fast_path_takes_every_usual_line(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for market, lines in LINES.items():
        reader = Reader(market, ["BTCUSDT"])
        monkeypatch.setattr(reader, "_slow_line", lambda chunk, cursor: pytest.fail("a usual line was refused"))
        for line in lines:
            for count in reader.tables(Chunk(NS + line + b"\n")):
                taken.append(reader.messages["kind"][:count].tolist())
    assert [kinds[0] for kinds in taken] == [
        scan.DEPTH, scan.TICKER, scan.TRADE, scan.SNAPSHOT, scan.SNAPSHOT, scan.MARK, scan.FORCE, scan.AGG_TRADE,
        scan.TICKER, scan.DEPTH, scan.TRADE, scan.SNAPSHOT,
    ]  # fmt: skip


PIECES = [b"", b" ", b"0", b"00", b"-", b"1e5", b".", b"9" * 18, b"9" * 20, b'"', b'\\"', b"\\u0041", b"[", b"]", b"{",
          b"}", b",", b":", b"null", b"true", b'"x":1,', b'"e":"trade",', b'"o":{"s":"BTCUSDT"},', b'"M":true,',
          b'"data":{},', b'"pu":3,', b'"s":"ETHUSDT",', b"\xc3\xa9", b"\r", b"1.5", b'"T":5,', b'"X":"ADL",',
          b'"symbol":"BTCUSDT",', b'"r":"",']  # fmt: skip


@settings(max_examples=40 if INTERPRETED else 1000)
@given(
    st.sampled_from([(market, line) for market, lines in LINES.items() for line in lines]),
    st.sampled_from([USDM, SPOT]),
    st.lists(st.tuples(st.integers(0, 250), st.integers(0, 6), st.sampled_from(PIECES)), max_size=3),
)
@example((USDM, LINES[USDM][0]), USDM, [(0, 0, b" ")])
def test_fast_equals_slow_on_mutilated_lines(
    origin: tuple[Market, bytes], market: Market, edits: list[tuple[int, int, bytes]]
) -> None:
    """A line with pieces cut out and put in, read by any market, means the same to both readers or fails the same."""
    line = origin[1]
    for at, cut, piece in edits:
        at %= len(line)
        line = line[:at] + piece + line[at + cut :]
    data = NS + line + b"\n"
    assert read(market, data, True) == read(market, data, False)


@given(
    st.integers(0, 10**18),
    st.integers(0, 18),
    st.integers(0, 6),
)
def test_decimals_are_exact(mantissa: int, digits: int, zeros: int) -> None:
    """A decimal string comes out as the same number without trailing zero decimals, or is refused."""
    text = str(mantissa).rjust(digits + 1, "0")
    if digits:
        text = f"{text[:-digits]}.{text[-digits:]}" + "0" * zeros
    buffer = np.frombuffer(text.encode() + b'"\n', np.uint8)
    got, places, end = lexer.read_decimal(buffer, 0)
    while digits and mantissa % 10 == 0:
        mantissa //= 10
        digits -= 1
    if end >= 0:
        assert (got, places, end) == (mantissa, digits if mantissa else 0, len(text))
    else:
        assert mantissa >= 10**17


@given(st.integers(0, 2**64))
def test_integers_are_exact_or_refused(value: int) -> None:
    """Integers below 10^18 are read exactly; larger ones are exact or refused, never wrapped."""
    buffer = np.frombuffer(str(value).encode() + b"\n", np.uint8)
    got, end = lexer.read_int(buffer, 0)
    assert (got == value and end == len(buffer) - 1) or (end == -1 and value >= 10**18)


@given(st.integers(1, 400), st.integers(1, 30))
def test_many_symbols_are_told_apart(count: int, step: int) -> None:
    """Each of many symbols is found under its own index, in either case of its stream name."""
    symbols = [f"S{i * step}USDT" for i in range(count)]
    reader = Reader(USDM, symbols)
    for i in {0, count // 2, count - 1}:
        raw = np.frombuffer(symbols[i].encode(), np.uint8)
        low = np.frombuffer(symbols[i].lower().encode(), np.uint8)
        assert scan.find_symbol(raw, 0, len(raw), False, reader.heads, reader.names) == i
        assert scan.find_symbol(low, 0, len(low), True, reader.heads, reader.names) == i
    other = np.frombuffer(b"OTHERUSDT", np.uint8)
    assert scan.find_symbol(other, 0, len(other), False, reader.heads, reader.names) == -1


@given(st.lists(st.sampled_from(LINES[USDM]), min_size=1, max_size=12), st.integers(1, 5))
def test_a_small_table_is_filled_part_by_part(lines: list[bytes], size: int) -> None:
    """Tables of any size give the same messages."""
    data = b"".join(NS + line + b"\n" for line in lines)
    reader = Reader(USDM, ["BTCUSDT"])
    reader.messages = np.zeros(size, scan.MESSAGE)
    out: list[tuple] = []
    for count in reader.tables(Chunk(data)):
        assert count <= size
        out += meaning(reader, count)
    assert (out, {}) == read(USDM, data, True)
