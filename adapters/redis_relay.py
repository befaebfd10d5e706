"""One recorder, many strategies: any source published as a Redis stream, and the stream as a source.

What a consumer gets from the beginning of a stream to its end are the published events, bit by bit.  Entries may be
lost to it: trimmed before it read them, or with a Redis that was restarted without its data.  Ids tell (see
`adapters.transports.redis_streams`): every book becomes invalid by a GAP row, the loss is counted in rows, trades and
the rest go on, and the next keyframe brings the books back.  Who joins in the middle begins the same way.

A publisher that is faster than its consumers either trims what they have not read, or, with `wait_for`, stays at most
`ahead` entries in front of the slowest of the consumers named there, as long as that one moves on within the patience.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adapters.keyframes import Keyframes, Rejoining
from adapters.transports.redis_streams import (
    END,
    EVENTS,
    KEYFRAME,
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    About,
    Address,
    Entry,
    EntryId,
    Link,
    entry_of,
    fields_of,
    id_of,
    read_about,
    read_entries,
    text_of,
)
from replay.errors import ConfigError, DataError, TransportError
from replay.events import empty_events
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, Source, cut_batches

PIPELINED = 8
READ_ENTRIES = 16
BEGIN, NOW, RESUME = "begin", "now", "resume"


@dataclass(frozen=True, slots=True)
class Publishing:
    """How to publish: rows an entry, entries that Redis keeps (about), rows between keyframes, the consumers to wait
    for and how many entries to be ahead of the slowest, and how long to wait (s) for them and for Redis."""

    rows: int = 4_096
    keep: int = 10_000
    keyframe_rows: int = 500_000
    wait_for: tuple[str, ...] = ()
    ahead: int = 256
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("rows", "keep", "keyframe_rows", "ahead"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "must be at least 1")
        if self.wait_for and self.keep < self.ahead + PIPELINED:
            raise ConfigError("keep", self.keep, f"is too little to be {self.ahead} entries ahead")


@dataclass(slots=True)
class Published:
    """What was sent; `left_behind` names consumers that were waited for in vain, `outages` counts those of Redis."""

    session: int
    rows: int = 0
    entries: int = 0
    keyframes: int = 0
    outages: int = 0
    left_behind: list[str] = field(default_factory=list)


def publish(
    source: Source, address: Address, how: Publishing = Publishing(), *, link: Link | None = None,
    progress: Callable[[int], None] | None = None,
) -> Published:  # fmt: skip
    """Send all events of `source`, then the end; `progress` gets the number of rows so far.

    A source that fails is told to the consumers and raised here; Ctrl-C ends the stream as if the source had ended.
    TransportError when Redis cannot be had, or when somebody else publishes into the same stream.
    """
    own = link or Link(address, how.patience_s)
    try:
        sender = _Sender(source, own, how)
        try:
            for batch in source.batches(how.rows):
                sender.add(batch, full=2 * len(batch) > how.rows)
                if progress:
                    progress(sender.done.rows)
        except KeyboardInterrupt:
            sender.finish({"quality": source.quality.as_dict()})
            raise
        except TransportError as error:
            if error.peer != str(address):
                sender.finish({"failed": str(error)})
            raise
        except Exception as error:
            sender.finish({"failed": str(error)})
            raise
        sender.finish({"quality": source.quality.as_dict()})
        sender.done.outages = own.outages
        return sender.done
    finally:
        if link is None:
            own.close()


class _Sender:
    """One session."""

    def __init__(self, source: Source, link: Link, how: Publishing) -> None:
        self.link, self.how, self.address = link, how, link.address
        self.done = Published(self._new_session())
        about = About(self.done.session, source.name, tuple(source.instruments), source.horizon_us)
        self.about = about.text()
        self.keyframes = Keyframes(len(about.instruments), about.horizon_us)
        self.since_keyframe = 0
        self.pending: list[tuple[str, dict[Any, Any]]] = []
        self.waiting_for = list(how.wait_for)
        self._send()  # who waits for a publisher can begin

    def _new_session(self) -> int:
        """Later than all that is there, by the clock of Redis (ms)."""
        now: Any = self.link.ask(lambda client: client.time())
        return max(int(now[0]) * 1000 + int(now[1]) // 1000, newest_id(self.link)[0] + 1)

    def add(self, events: np.ndarray, full: bool) -> None:
        """Queue a batch; sent at once unless it is `full`, which says that more is coming soon.

        An empty batch, by which a live source says that nothing has come, sends what waits.
        """
        if len(events):
            self.keyframes.push(events)
            self._queue(EVENTS, events)
            self.done.rows += len(events)
        self.since_keyframe += len(events)
        if self.since_keyframe >= self.how.keyframe_rows:
            self._queue(KEYFRAME, self.keyframes.rows(int(events["ts"][-1])))
            self.done.keyframes += 1
            self.since_keyframe = 0
        if self.pending and (not full or len(self.pending) >= PIPELINED):
            self._send()

    def finish(self, end: dict[str, Any]) -> None:
        """Queue the end and send what is left."""
        self._queue(END, end)
        self._send()

    def _queue(self, kind: bytes, body: Any) -> None:
        self.done.entries += 1
        name = (self.done.session, self.done.entries)
        self.pending.append((text_of(name), fields_of(kind, self.done.rows, body)))

    def _send(self) -> None:
        self._wait()
        results = self.link.ask(self._transaction)
        refused = [each for each in results if isinstance(each, Exception)]
        if any("equal or smaller" not in str(each) for each in refused):
            raise TransportError(f"says: {refused[0]}", str(self.address))
        # Ids that are there already were sent before the connection broke, unless they are another publisher's.
        newest = read_about(self.link) if refused else None
        if newest is not None and newest.session != self.done.session:
            raise TransportError("another publisher has begun", str(self.address), "give each a stream of its own")
        self.pending.clear()

    def _transaction(self, client: Any) -> list[Any]:
        """All or nothing, so that a Redis that becomes full leaves no hole."""
        pipeline = client.pipeline(transaction=True)
        taken = client.get(self.address.about)
        if taken is None or About.of(taken, self.address).session <= self.done.session:
            pipeline.set(self.address.about, self.about)
        for name, fields in self.pending:
            pipeline.xadd(self.address.stream, fields, name, maxlen=self.how.keep, approximate=True)
        results: list[Any] = pipeline.execute(raise_on_error=False)
        return results

    def _wait(self) -> None:
        """Until the slowest consumer is near enough."""
        pause_s, slowest, since_s = SHORTEST_PAUSE_S / 4, -1, self.link.clock()
        while self.waiting_for:
            said = self.link.ask(lambda client: client.hmget(self.address.consumers, self.waiting_for))
            places = [id_of(each) if each else (0, 0) for each in said]
            reached = [place[1] if place[0] == self.done.session else 0 for place in places]
            if self.done.entries - len(self.pending) - min(reached) <= self.how.ahead:
                return
            if min(reached) > slowest:
                slowest, since_s = min(reached), self.link.clock()
            elif self.link.clock() - since_s >= self.how.patience_s:
                late = [name for name, place in zip(self.waiting_for, reached) if place == min(reached)]
                self.done.left_behind += late
                self.waiting_for = [name for name in self.waiting_for if name not in late]
                slowest, since_s = -1, self.link.clock()
                continue
            self.link.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S / 10, pause_s * 2)


class RedisSource:
    """A stream as a source (see `replay.sources.Source`).

    `start`: "begin" of the session that is published now, "now", "resume" where the named `consumer` was, or the id of
    the last entry whose events the caller has.  `idle_s` of silence end in a TransportError (None: wait for ever), as
    does a publisher that failed.  Waits `patience_s` for Redis and for the description.
    """

    def __init__(
        self, address: Address, *, start: str = BEGIN, consumer: str = "", idle_s: float | None = None,
        patience_s: float = 60.0, link: Link | None = None,
    ) -> None:  # fmt: skip
        if start == RESUME and not consumer:
            raise ConfigError("start", start, "needs the name of a consumer")
        if start not in (BEGIN, NOW, RESUME):
            id_of(start)
        self.address, self.start, self.consumer, self.idle_s = address, start, consumer, idle_s
        self.link = link or Link(address, patience_s)
        self.about = self._described()
        self.name, self.instruments = str(address), self.about.instruments
        self.horizon_us = self.about.horizon_us
        self._begin()

    def _begin(self) -> None:
        self.last: EntryId = (self.about.session, 0)
        self.finished = self.last
        self.rows = 0
        self.rows_lost = self.damaged = 0
        self.joined_late = False
        self.published = QualityReport()
        self.books = Rejoining(self.instruments, self.horizon_us)
        self.last_ts = 0

    @property
    def last_id(self) -> str:
        """Id of the last entry whose events were handed out: where another source may go on."""
        return text_of(self.finished)

    @property
    def quality(self) -> QualityReport:
        """That of the publisher, which comes with the end, and what was lost on the way."""
        report = self.published.merged(self.books.gaps)
        report.max_feed_latency_us = max(report.max_feed_latency_us, self.horizon_us)
        for what, count in (("row lost in the relay", self.rows_lost), ("damaged entry of the relay", self.damaged)):
            if count:
                report.ignored[what] += count
        return report

    def lag(self) -> int:
        """Entries in the stream that were not read yet."""
        newest = newest_id(self.link)
        return newest[1] - (self.last[1] if newest[0] == self.last[0] else 0)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of at most about `rows` rows, as they come, until the stream ends; a message is never cut."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        try:
            yield from self._batches(rows)
        finally:
            self.link.close()

    def _batches(self, rows: int) -> Iterator[np.ndarray]:
        self.about = self._described()
        self._begin()
        self._place()
        for entry in self._entries():
            if entry.end is not None:
                self._account(entry)
                self.finished = entry.id
                self._ended(entry.end)
                return
            events = self._taken(entry)
            batches = list(cut_batches(events, rows))
            for i, batch in enumerate(batches, 1):
                self.last_ts = int(batch["ts"][-1])
                if i == len(batches):
                    self.finished = entry.id
                yield batch
            self.finished = entry.id

    def _place(self) -> None:
        """Where to begin: `last`, and whether the books before it are unknown."""
        if self.start == NOW:
            self.last, self.joined_late = max(newest_id(self.link), self.last), True
        elif self.start == RESUME:
            said: Any = self.link.ask(lambda client: client.hget(self.address.consumers, self.consumer))
            place = id_of(said) if said else self.last
            if place[0] == self.last[0] and place[1] > 0:
                self.last, self.joined_late = place, True
        elif self.start != BEGIN:
            self.last = id_of(self.start)
            self.rows = -1  # the caller knows
        self.finished = self.last

    def _described(self) -> About:
        begun, pause_s = self.link.clock(), SHORTEST_PAUSE_S
        while (about := read_about(self.link)) is None:
            if self.link.clock() - begun >= self.link.patience_s:
                raise TransportError("nobody publishes there", str(self.address), "start the publisher first")
            self.link.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        return about

    def _entries(self) -> Iterator[Entry]:
        after, silent_since_s = self.last, self.link.clock()
        while True:
            self._acknowledge()
            found = read_entries(self.link, after, READ_ENTRIES)
            if found:
                silent_since_s = self.link.clock()
            elif self.idle_s is not None and self.link.clock() - silent_since_s >= self.idle_s:
                raise TransportError(f"nothing has come for {self.idle_s:g} s", str(self.address), "is it published?")
            for name, fields in found:
                entry = entry_of(name, fields, len(self.instruments))
                after = entry.id
                yield entry

    def _acknowledge(self) -> None:
        if self.consumer:
            place = self.last_id
            self.link.ask(lambda client: client.hset(self.address.consumers, self.consumer, place))

    def _taken(self, entry: Entry) -> np.ndarray:
        """The rows that an entry brings; after a loss GAP rows come first."""
        lost = self._account(entry)
        events = entry.events
        if events is None:
            self.damaged += 1
            lost, events = lost or entry.kind == EVENTS, empty_events(0)
        ts = int(events["ts"][0]) if len(events) else self.last_ts
        if ts < self.last_ts:
            raise DataError("a new session of the stream begins before what was received", self.name,
                            hint="it is another recording: begin anew")  # fmt: skip
        gaps = self.books.lost(ts) if lost and ts else empty_events(0)
        if entry.kind == KEYFRAME:
            rows = self.books.restored(events)
        else:
            self.rows += len(events)
            rows = self.books.pushed(events)
        return np.concatenate([gaps, rows]) if len(gaps) else rows

    def _account(self, entry: Entry) -> bool:
        """Whether something is missing before an entry; moves on to it."""
        session, number = self.last
        lost = entry.id != (session, number + 1) or self.joined_late
        if entry.id[0] != session:
            about = self._described()
            if about.instruments != self.instruments:
                raise DataError("the publisher has begun anew with other instruments", self.name, hint="begin anew")
            self.rows = 0
        if entry.rows_before >= 0:
            if not self.joined_late and self.rows >= 0:
                self.rows_lost += entry.rows_before - self.rows
            self.rows = entry.rows_before
        self.last, self.joined_late = entry.id, False
        return lost

    def _ended(self, end: Any) -> None:
        self._acknowledge()
        if "failed" in end:
            raise TransportError(f"the publisher failed: {end['failed']}", str(self.address))
        self.published = QualityReport.from_dict(end["quality"])


def newest_id(link: Link) -> EntryId:
    """The id given last, (0, 0) where there is no stream."""

    def work(client: Any) -> EntryId:
        if not client.exists(link.address.stream):
            return 0, 0
        return id_of(client.xinfo_stream(link.address.stream)["last-generated-id"])

    return link.ask(work)


def open_address(url: str, **options: Any) -> RedisSource:
    """The source at `redis://host:6379/0?stream=NAME[&start=…][&consumer=…][&idle=SECONDS]`."""
    address = Address.of(url)
    said = address.options
    try:
        idle_s = float(said["idle"]) if "idle" in said else None
    except ValueError:
        raise ConfigError("idle", said["idle"], "is not a number of seconds") from None
    return RedisSource(
        address, start=said.get("start", BEGIN), consumer=said.get("consumer", ""), idle_s=idle_s, **options
    )


class RedisPublisher:
    """Redis for the command `replay relay` (see `replay.commands.relay.Publisher`)."""

    def publish(
        self, source: Source, url: str, progress: Callable[[int], None], **how: Any
    ) -> list[str]:  # fmt: skip
        """Send all events; what was sent, as lines for a person."""
        address = Address.of(url)
        done = publish(source, address, Publishing(**how), progress=progress)
        lines = [f"{done.rows:,} rows in {done.entries:,} entries, {done.keyframes:,} keyframes, to {address}"]
        if done.outages:
            lines.append(f"{done.outages:,} times Redis was away or full and came back")
        lines += [f"did not wait for {name} any longer" for name in done.left_behind]
        return lines

    def status(self, url: str) -> list[str]:
        """What the stream holds and how far its consumers are, as lines for a person."""
        address = Address.of(url)
        link = Link(address, patience_s=5.0)
        try:
            source = RedisSource(address, link=link)
            newest = newest_id(link)
            held = link.ask(lambda client: client.xlen(address.stream))
            found: Any = link.ask(lambda client: client.hgetall(address.consumers))
        finally:
            link.close()
        names = ", ".join(instrument.name for instrument in source.instruments)
        lines = [f"{source.about.name}: {names}", f"{held:,} entries held, newest {text_of(newest)}"]
        for name, place in sorted(found.items()):
            behind = newest[1] - id_of(place)[1] if id_of(place)[0] == newest[0] else newest[1]
            lines.append(f"consumer {name.decode()}: {behind:,} entries behind")
        return lines


PUBLISHER = RedisPublisher()
