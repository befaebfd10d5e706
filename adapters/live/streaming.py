"""What venues have in common that send full books in the stream: a lost book comes back by subscribing to it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Self

import orjson

from adapters.live.protocol import (
    BOOK,
    Connection,
    Heartbeat,
    Limits,
    Outcome,
    Request,
    connections_for,
    in_batches,
    moved,
)
from adapters.sequencing import Repair, Timing
from adapters.venue import VenueAdapter, VenueDecoder
from replay.errors import DataError
from replay.instruments import Instrument


@dataclass(frozen=True)
class StreamingVenue(ABC):
    """See `adapters.live.protocol.Venue`; `adapter` reads the recordings and knows what a symbol pays."""

    adapter: VenueAdapter
    url: str
    rest: str
    channels: tuple[str, ...]
    limits: Limits
    heartbeat: Heartbeat

    @property
    def name(self) -> str:
        """Of the adapter."""
        return self.adapter.name

    def at(self, sockets: str, rest: str) -> Self:
        """At other addresses."""
        return replace(self, url=moved(self.url, sockets), rest=moved(self.rest, rest))

    def connections(self, symbols: Sequence[str], channels: Sequence[str]) -> list[Connection]:
        """All streams over as few sockets as the limits allow."""
        return self._connections_at(self.url, symbols, channels)

    def _connections_at(self, url: str, symbols: Sequence[str], channels: Sequence[str]) -> list[Connection]:
        wanted = [stream for symbol in symbols for channel in channels for stream in self.streams(symbol, channel)]
        books = {self.book_stream(symbol): symbol for symbol in symbols}
        return connections_for(url, self.limits, list(dict.fromkeys(wanted)), books)

    @abstractmethod
    def streams(self, symbol: str, channel: str) -> list[str]:
        """The streams that carry a channel of a symbol; none where it has no such thing."""

    def subscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """As few frames as the limit allows."""
        return self._requests("subscribe", streams, number)

    def unsubscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """Likewise."""
        return self._requests("unsubscribe", streams, number)

    def _requests(self, operation: str, streams: Sequence[str], number: int) -> list[str]:
        batches = in_batches(streams, self.limits.streams_per_frame)
        return [self.request(operation, batch, number + i) for i, batch in enumerate(batches)]

    @abstractmethod
    def request(self, operation: str, streams: Sequence[str], number: int) -> str:
        """The frame that asks to "subscribe" or "unsubscribe", by its number on the socket."""

    @abstractmethod
    def receive(self, frame: bytes) -> Outcome:
        """What a frame means."""

    def opening(self) -> list[str]:
        """Nothing."""
        return []

    def book_stream(self, symbol: str) -> str:
        """Of the channel `book`."""
        return self.streams(symbol, BOOK)[0]

    def snapshot(self, symbol: str) -> None:
        """Books come in the stream."""
        return

    def snapshot_message(self, symbol: str, body: bytes) -> bytes:
        """Nobody asks for one."""
        raise DataError(f"{self.name} sends its books in the stream")

    @abstractmethod
    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """Requests."""

    @abstractmethod
    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """Terms."""

    def instrument(self, symbol: str, tick: object, lot: object) -> Instrument:
        """With a grid as the venue wrote it; what it pays is told by its name.  DataError when that cannot be."""
        try:
            price_step, size_step = (Decimal(str(step)).normalize() for step in (tick, lot))
        except InvalidOperation:
            raise DataError(f"{self.name}:{symbol}: tick {tick!r} or lot {lot!r} is no number") from None
        terms = self.adapter.venue.terms(symbol)
        return Instrument(
            self.name, symbol, terms.payoff, price_step, size_step, terms.multiplier, terms.settle
        )  # fmt: skip

    def decoder(self, instruments: Sequence[Instrument], timing: Timing, repair: Repair) -> VenueDecoder:
        """For all sockets together."""
        return self.adapter.decoder(instruments, timing=timing, repair=repair)


def json_value(data: bytes) -> Any:
    """Decoded JSON; DataError when it is broken."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error})") from None


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object; DataError for anything else."""
    found = json_value(data)
    if not isinstance(found, dict):
        raise DataError(f"a JSON {type(found).__name__} instead of an object")
    return found
