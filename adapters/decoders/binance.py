"""Binance recordings and messages as tables: the fast scanner, helped by the exact reader, then the sequencer.

`Reader` turns chunks of lines into the tables of `replay.kernel.scan`.  `BinanceDecoder` is the sans-I/O decoder of
one connection: the same reader and the same sequencer on one message at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from adapters.base import Command, EventSink, FetchSnapshot
from adapters.decoders.binance_lines import Market, check_symbol, read_message
from adapters.decoders.parsed import Parsed, lost_symbols, split_line
from adapters.sequencing import Drop, Repair, Sequencer, Timing
from adapters.transports.file import Chunk
from replay.errors import ConfigError, DataError
from replay.instruments import Instrument
from replay.kernel import lexer, scan
from replay.quality import QualityReport

TABLE_MESSAGES = 16_384
NAME_BYTES = 41
REPLAY_NOTE = b'{"replay":'


class Reader:
    """Chunks to message and level tables.

    `symbols` are known from the start; with `learn` unknown ones are added when a message names them, otherwise such
    messages are counted in `ignored`.  `only_symbol` is whose the snapshots are that name none (−1: nobody's).
    """

    def __init__(
        self, market: Market, symbols: Sequence[str] = (), *,
        learn: bool = False, fast: bool = True, drop: Drop | None = None,
    ) -> None:  # fmt: skip
        self.market, self.learn, self.fast = market, learn, fast
        self.to_drop = drop or Drop()
        self.stated: dict[str, Instrument] = {}
        self.symbols: list[str] = []
        self.index: dict[str, int] = {}
        self.ignored: Counter[str] = Counter()
        self.heads = np.full(64, -1, np.int32)
        self.names = np.zeros((16, NAME_BYTES), np.uint8)
        self.slots = np.zeros((lexer.SLOTS, 5), np.int64)
        self.messages = np.zeros(TABLE_MESSAGES, scan.MESSAGE)
        self.levels = np.zeros(1024, lexer.LEVEL)
        self.cursor = np.zeros(1, lexer.CURSOR)
        self.cursor[0]["futures"] = market.futures
        for symbol in symbols:
            self.add_symbol(symbol)
        self.only_symbol = 0 if len(self.symbols) == 1 else -1

    def add_symbol(self, symbol: str) -> int:
        """Index of a new symbol; DataError when it belongs to another market."""
        check_symbol(symbol, self.market)
        index = len(self.symbols)
        self.symbols.append(symbol)
        self.index[symbol] = index
        if index >= len(self.names):
            self.names = np.vstack([self.names, np.zeros_like(self.names)])
        raw = np.frombuffer(symbol.encode(), np.uint8)
        self.names[index, 0] = len(raw)
        self.names[index, 1 : 1 + len(raw)] = raw
        if 4 * (index + 1) > len(self.heads):
            self.heads = np.full(4 * len(self.heads), -1, np.int32)
            for known in range(index):
                self._enter(known)
        self._enter(index)
        return index

    def _enter(self, index: int) -> None:
        raw = np.frombuffer(self.symbols[index].encode(), np.uint8)
        mask = len(self.heads) - 1
        at = int(scan.symbol_hash(raw, 0, len(raw))) & mask
        while self.heads[at] >= 0:
            at = (at + 1) & mask
        self.heads[at] = index

    def tables(self, chunk: Chunk) -> Iterator[int]:
        """Fill `messages` and `levels`, part by part; yields the number of messages each time.

        DataError with file and line for what is broken.
        """
        buffer = np.frombuffer(chunk.data, np.uint8)
        stop = len(buffer)
        if len(self.levels) < stop // 8:
            self.levels = np.zeros(stop // 8 + 1024, lexer.LEVEL)
        cursor = self.cursor[0]
        cursor["pos"], cursor["line"], cursor["messages"], cursor["levels"] = 0, 0, 0, 0
        cursor["only_symbol"] = self.only_symbol
        while True:
            status = scan.SLOW
            if self.fast or cursor["pos"] >= stop:
                status = scan.scan(buffer, stop, self.heads, self.names, self.slots, self.messages, self.levels, cursor)
            elif cursor["messages"] >= len(self.messages):
                status = scan.FULL
            if status == scan.SLOW:
                self._slow_line(chunk, cursor)
                continue
            if cursor["messages"]:
                yield int(cursor["messages"])
            if status == scan.DONE:
                return
            cursor["messages"], cursor["levels"] = 0, 0

    def _slow_line(self, chunk: Chunk, cursor: np.void) -> None:
        start = int(cursor["pos"])
        end = chunk.data.index(b"\n", start)
        line = chunk.data[start:end]
        try:
            if line.strip():
                self._take(line, cursor)
        except DataError as error:
            path, number = chunk.where(int(cursor["line"]))
            problem = error.problem
            if chunk.cut and end + 1 == len(chunk.data) and "JSON" in problem:
                problem = "the file is truncated: its final line is incomplete"
            raise DataError(problem, path, number, error.hint) from None
        cursor["pos"] = end + 1
        cursor["line"] += 1

    def _take(self, line: bytes, cursor: np.void) -> None:
        local_ns, message = split_line(line)
        lost = lost_symbols(message)
        if lost is None:
            parsed = read_message(message, self.market)
            parsed.local_ns = local_ns
            self._put(parsed, cursor)
            return
        if self.messages.size < cursor["messages"] + len(self.symbols):
            self.messages = np.concatenate([self.messages, np.zeros_like(self.messages)])
        for symbol in lost or self.symbols:
            if symbol in self.index:
                self._put(Parsed(scan.LOST, symbol, local_ns), cursor)

    def _put(self, parsed: Parsed, cursor: np.void) -> None:
        if parsed.kind == scan.OTHER:
            self.ignored[parsed.name] += 1
        symbol = self.index.get(parsed.symbol, -1)
        if symbol < 0 and not parsed.symbol and parsed.kind == scan.SNAPSHOT:
            symbol = self.only_symbol
        elif symbol < 0 and parsed.kind != scan.OTHER:
            if not self.learn:
                self.ignored[f"message of unknown symbol {parsed.symbol}"] += 1
                return
            symbol = self.add_symbol(parsed.symbol)
        elif symbol < 0:
            return
        start = int(cursor["levels"])
        bids, asks = len(parsed.bids), len(parsed.asks)
        for i, level in enumerate((*parsed.bids, *parsed.asks)):
            price, price_digits, size, size_digits = level
            self.levels[start + i] = (price, size, price_digits, size_digits)
        self.messages[cursor["messages"]] = (
            parsed.local_ns, parsed.venue_us, parsed.first_id, parsed.last_id, parsed.prev_id, parsed.extra,
            start if bids or asks else 0, start + bids if asks else 0, bids, asks, cursor["line"], symbol,
            parsed.kind, parsed.side,
        )  # fmt: skip
        cursor["levels"] += bids + asks
        cursor["messages"] += 1


class BinanceDecoder:
    """One live connection (see `adapters.base.Decoder`).

    `instruments` are those that are subscribed; `timing` the clock offset and the bound on latency; `repair` what
    happens at a hole; `aggregated` the symbols whose aggTrades are the trades.
    """

    def __init__(
        self,
        market: Market,
        instruments: Sequence[Instrument],
        *,
        timing: Timing | None = None,
        repair: Repair | None = None,
        aggregated: frozenset[str] = frozenset(),
    ) -> None:
        if not instruments:
            raise ConfigError("instruments", [], "a decoder needs to know its instruments")
        self.reader = Reader(market, [instrument.symbol for instrument in instruments])
        self.sequencer = Sequencer(instruments, market.rule, timing or Timing(), repair=repair, aggregated=aggregated)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What `event["instrument"]` indexes."""
        return self.sequencer.instruments

    @property
    def quality(self) -> QualityReport:
        """Counts so far."""
        report = self.sequencer.quality
        report.ignored = Counter(self.reader.ignored)
        return report

    def feed(self, data: bytes, received_ns: int, out: EventSink) -> None:
        """Decode one message; `{"replay":"disconnected"}` says that the connection was lost.

        A depth answer without symbol needs `feed_snapshot` when several are subscribed.
        """
        line = b"%d %s\n" % (received_ns, data.rstrip())
        if b"\n" in line[:-1]:
            line = line[:-1].replace(b"\n", b" ") + b"\n"
        for count in self.reader.tables(Chunk(line)):
            unnamed = self.reader.messages["symbol"][:count] < 0
            if unnamed.any():
                raise DataError("a depth answer names no symbol", hint="hand it to feed_snapshot with its symbol")
            for batch in self.sequencer.push(self.reader.messages, count, self.reader.levels, 4096):
                out(batch)
        for batch in self.sequencer.flush():
            out(batch)
        if data.startswith(REPLAY_NOTE):
            self.sequencer.await_delta()

    def feed_snapshot(self, symbol: str, data: bytes, received_ns: int, out: EventSink) -> None:
        """The answer to FetchSnapshot(symbol)."""
        self.feed(b'{"stream":"%s@depthSnapshot","data":%s}' % (symbol.lower().encode(), data), received_ns, out)

    def commands(self) -> list[Command]:
        """Snapshots that are needed, when the repair policy is to fetch them."""
        if self.sequencer.repair.policy != "refetch":
            return []
        return [FetchSnapshot(symbol, "the book has no valid state") for symbol in self.sequencer.wanted()]
