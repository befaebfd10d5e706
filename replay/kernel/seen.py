"""`ctx` and the events of `replay.context`, as machine code sees them.

Each class has a Numba type with the same names: fields are read from the arena when the event is made, properties and
methods are written here once more, with the same formulas (a test compares every one of them in both modes).  A
context is (handle, strategy), a book (handle, instrument): live views that find the arena anew at each access.
"""

from __future__ import annotations

import numpy as np
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import (
    intrinsic,
    make_attribute_wrapper,
    models,
    overload,
    overload_attribute,
    overload_method,
    register_jitable,
    register_model,
)

from replay.errors import ConfigError
from replay.kernel.book import NO_ASK, NO_BID
from replay.kernel.codes import FILLED, POST_ONLY, REASONS, REDUCE_ONLY, STATUS_NAMES
from replay.kernel.jit import kernel
from replay.kernel.local_view import CASH, EQUITY, FEES, TURNOVER, own_order_at
from replay.kernel.native import (
    AT_CANCEL,
    AT_CANCEL_ALL,
    AT_DEPTH,
    AT_MARK,
    AT_MODIFY,
    AT_MONEY,
    AT_RECORD,
    AT_SET_TIMER,
    AT_SUBMIT,
    GROW,
    arena_of,
    call_at,
    call_float_at,
    call_python,
    peek,
    refusal,
    section_reader,
)
from replay.kernel.orders import BOOKS_EACH
from replay.kernel.requests import NEED_ROOM_CODE
from replay.kernel.state import record_number
from replay.kernel.terms import CONTRADICTIONS, TIF_CODES, TIF_NAMES, TRIGGER_CODES, TRIGGER_NAMES, order_kind_jitted
from replay.units import SCALE

runs, instruments, books = section_reader("run"), section_reader("instruments"), section_reader("books")
slots, strategies, orders = section_reader("slots"), section_reader("strategies"), section_reader("orders")
events, answers = section_reader("event"), section_reader("answered")


def _seen(name, **members):
    """A Numba type `name` with these members, and the kernel that makes one from a tuple of their values.

    Members that are not for the user end with an underscore.
    """

    class Kind(types.Type):
        def __init__(self):
            super().__init__(name=f"replay.{name}")

    @register_model(Kind)
    class Model(models.StructModel):
        def __init__(self, manager, kind):
            super().__init__(manager, kind, list(members.items()))

    for member in members:
        make_attribute_wrapper(Kind, member, member)
    kind = Kind()
    fields = types.Tuple(list(members.values()))

    @intrinsic
    def pack(typingctx, values):
        def codegen(context, builder, signature, args):
            made = cgutils.create_struct_proxy(kind)(context, builder)
            given = signature.args[0].types
            for i, (member, wanted) in enumerate(members.items()):
                value = builder.extract_value(args[0], i)
                setattr(made, member, context.cast(builder, value, given[i], wanted))
            return made._getvalue()

        if len(values) != len(fields):
            raise TypingError(f"{name} has {len(fields)} members")
        return kind(values), codegen

    return kind, pack


INT, FLOAT, BOOL = types.int64, types.float64, types.boolean
ContextType, _context = _seen("Context", handle_=INT, strategy_=INT)
BookType, _book = _seen("Book", handle_=INT, instrument=INT)
TradeType, _trade = _seen(
    "Trade", ts=INT, exch_ts=INT, seq=INT, ticks=INT, lots=INT, instrument=INT, side=INT, handle_=INT
)
QuoteType, _quote = _seen(
    "Quote",
    ts=INT,
    exch_ts=INT,
    seq=INT,
    instrument=INT,
    bid_ticks=INT,
    bid_lots=INT,
    ask_ticks=INT,
    ask_lots=INT,
    handle_=INT,
)
FundingType, _funding = _seen("Funding", ts=INT, exch_ts=INT, next_us=INT, rate=FLOAT, instrument=INT)
GapType, _gap = _seen("Gap", ts=INT, exch_ts=INT, last_good_id=INT, next_id=INT, instrument=INT)
TimerType, _timer = _seen("Timer", tag=INT, time_us=INT)
OrderType, _order = _seen(
    "Order",
    id=INT,
    instrument=INT,
    side=INT,
    ticks=INT,
    lots=INT,
    leaves=INT,
    filled=INT,
    pending=BOOL,
    tag=INT,
    status_=INT,
    reason_=INT,
)
FillType, _fill = _seen(
    "Fill", order_id=INT, instrument=INT, side=INT, ticks=INT, lots=INT, maker=BOOL, fee=FLOAT, exch_ts=INT, handle_=INT
)


# ------------------------------------------------------------------------------------------ what a handler is given


@kernel(entry=False, inline=True)
def context_of(handle, strategy):
    """The `ctx` of a strategy."""
    return _context((handle, strategy))


@kernel(entry=False)
def order_from(order):
    """Order from its record."""
    return _order((
        order["number"], order["instrument"], order["side"], order["l_ticks"], order["l_lots"], order["l_leaves"],
        order["l_filled"], order["pending"] != 0, order["tag"], order["status"], order["reason"],
    ))  # fmt: skip


@kernel(entry=False)
def book_event(handle):
    """The book that has changed."""
    return _book((handle, runs(handle)[0]["out_instrument"]))


@kernel(entry=False)
def trade_event(handle):
    """The print, or the liquidation, that has just come."""
    row = events(handle)[0]
    return _trade((
        row["ts"], row["exch_ts"], row["seq"], row["price"], row["qty"], row["instrument"], row["side"], handle,
    ))  # fmt: skip


@kernel(entry=False)
def quote_event(handle):
    """The venue's best prices."""
    row = events(handle)[0]
    inst = instruments(handle)[row["instrument"]]
    return _quote((
        row["ts"], row["exch_ts"], row["seq"], row["instrument"], inst["quote_bid"], inst["quote_bid_lots"],
        inst["quote_ask"], inst["quote_ask_lots"], handle,
    ))  # fmt: skip


@kernel(entry=False)
def funding_event(handle):
    """The funding rate."""
    row = events(handle)[0]
    return _funding((row["ts"], row["exch_ts"], row["seq"], row["value"] / SCALE, row["instrument"]))


@kernel(entry=False)
def gap_event(handle):
    """The hole in the feed."""
    row = events(handle)[0]
    return _gap((row["ts"], row["exch_ts"], row["seq"], row["value"], row["instrument"]))


@kernel(entry=False)
def timer_event(handle):
    """The timer that is due."""
    run = runs(handle)[0]
    return _timer((run["out_id"], run["now"]))


@kernel(entry=False)
def order_event(handle):
    """Our order, after an answer."""
    return order_from(orders(handle)[runs(handle)[0]["out_order"]])


@kernel(entry=False)
def fill_event(handle):
    """Our fill, from the answer that told of it."""
    row = answers(handle)[0]
    return _fill((
        row["order_id"], row["instrument"], row["side"], row["exec_ticks"], row["exec_lots"], row["maker"] != 0,
        row["fee"], row["exch_ts"], handle,
    ))  # fmt: skip


EVENTS = {
    "on_book": book_event, "on_quote": quote_event, "on_trade": trade_event, "on_liquidation": trade_event,
    "on_funding": funding_event, "on_gap": gap_event, "on_timer": timer_event, "on_order": order_event,
    "on_fill": fill_event,
}  # fmt: skip
"""What makes the event of each handler."""


# ------------------------------------------------------------------------------------------------ prices and sizes


@kernel(entry=False)
def _price(handle, instrument, ticks):
    inst = instruments(handle)[instrument]
    return ticks / inst["ticks_each"] if inst["ticks_each"] != 0.0 else ticks * inst["tick"]


@kernel(entry=False)
def _size(handle, instrument, lots):
    inst = instruments(handle)[instrument]
    return lots / inst["lots_each"] if inst["lots_each"] != 0.0 else lots * inst["lot"]


def _priced(kind):
    @overload_attribute(kind, "price")
    def price(event):
        return lambda event: _price(event.handle_, event.instrument, event.ticks)

    @overload_attribute(kind, "size")
    def size(event):
        return lambda event: _size(event.handle_, event.instrument, event.lots)


_priced(type(TradeType))
_priced(type(FillType))


@overload_attribute(type(QuoteType), "bid")
def _quote_bid(quote):
    return lambda quote: _price(quote.handle_, quote.instrument, quote.bid_ticks)


@overload_attribute(type(QuoteType), "ask")
def _quote_ask(quote):
    return lambda quote: _price(quote.handle_, quote.instrument, quote.ask_ticks)


@overload_attribute(type(OrderType), "status")
def _order_status(order):
    return lambda order: STATUS_NAMES[order.status_]


@overload_attribute(type(OrderType), "reason")
def _order_reason(order):
    return lambda order: REASONS[order.reason_]


@overload_attribute(type(OrderType), "done")
def _order_done(order):
    return lambda order: order.status_ >= FILLED


# -------------------------------------------------------------------------------------------------------- the book


def _touch(field):
    @overload_attribute(type(BookType), field)
    def value(book):
        return lambda book: books(book.handle_)[book.instrument * BOOKS_EACH + 1][field]


for _field in ("bid_ticks", "bid_lots", "ask_ticks", "ask_lots"):
    _touch(_field)


@overload_attribute(type(BookType), "valid")
def _book_valid(book):
    return lambda book: instruments(book.handle_)[book.instrument]["local_valid"] != 0


@overload_attribute(type(BookType), "ready")
def _book_ready(book):
    return lambda book: book.valid and book.bid_lots > 0 and book.ask_lots > 0


@overload_attribute(type(BookType), "mid_ticks")
def _book_mid_ticks(book):
    def get(book):
        bid, ask = book.bid_ticks, book.ask_ticks
        return (bid + ask) / 2 if bid != NO_BID and ask != NO_ASK else np.nan

    return get


@overload_attribute(type(BookType), "mid")
def _book_mid(book):
    return lambda book: _price(book.handle_, book.instrument, book.mid_ticks)


@overload_attribute(type(BookType), "spread_ticks")
def _book_spread(book):
    return lambda book: book.ask_ticks - book.bid_ticks


@overload_method(type(BookType), "depth")
def _book_depth(book, side, levels=10):
    def depth(book, side, levels=10):
        ticks, lots = np.empty(levels, np.int64), np.empty(levels, np.int64)
        handle = book.handle_
        n = call_at(peek(handle, AT_DEPTH), (arena_of(handle), book.instrument, np.int64(side), ticks, lots))
        return ticks[:n], lots[:n]

    return depth


# ----------------------------------------------------------------------------------------------- ctx: what is known


@overload_attribute(type(ContextType), "now")
def _ctx_now(ctx):
    return lambda ctx: runs(ctx.handle_)[0]["now"]


@kernel(entry=False, counted=True)
def _known(handle, instrument):
    """The index of an instrument as int64; ConfigError when there is none."""
    if instrument < 0 or instrument >= runs(handle)[0]["instruments"]:
        raise ConfigError("instrument", instrument, "is not the index of an instrument of this run")
    return np.int64(instrument)


@kernel(entry=False)
def _slot_of(ctx, instrument):
    return strategies(ctx.handle_)[ctx.strategy_]["first_slot"] + _known(ctx.handle_, instrument)


@overload_method(type(ContextType), "book")
def _ctx_book(ctx, instrument=0):
    return lambda ctx, instrument=0: _book((ctx.handle_, _known(ctx.handle_, instrument)))


@overload_method(type(ContextType), "position")
def _ctx_position(ctx, instrument=0):
    return lambda ctx, instrument=0: slots(ctx.handle_)[_slot_of(ctx, instrument)]["l_position"]


@overload_method(type(ContextType), "mark")
def _ctx_mark(ctx, instrument=0):
    def mark(ctx, instrument=0):
        handle = ctx.handle_
        at = _known(handle, instrument)
        inst = instruments(handle)[at]
        if inst["mark_local"] != 0:
            return inst["mark_local"] / SCALE
        return _price(handle, at, call_float_at(peek(handle, AT_MARK), (arena_of(handle), at)))

    return mark


def _money(name, what):
    @overload_method(type(ContextType), name)
    def money(ctx, instrument=0):
        def get(ctx, instrument=0):
            handle = ctx.handle_
            return call_float_at(peek(handle, AT_MONEY), (arena_of(handle), _slot_of(ctx, instrument), np.int64(what)))

        return get


for _name, _what in (("equity", EQUITY), ("cash", CASH), ("fees", FEES), ("turnover", TURNOVER)):
    _money(_name, _what)


@overload_method(type(ContextType), "order")
def _ctx_order(ctx, order_id):
    def order(ctx, order_id):
        at = own_order_at(arena_of(ctx.handle_), ctx.strategy_, np.int64(order_id))
        if at < 0:
            return None
        return order_from(orders(ctx.handle_)[at])

    return order


@overload_method(type(ContextType), "orders")
def _ctx_orders(ctx, instrument=None):
    everywhere = instrument is None or isinstance(instrument, (types.NoneType, types.Omitted))

    def listed(ctx, instrument=None):
        handle = ctx.handle_
        first = strategies(handle)[ctx.strategy_]["first_slot"]
        low, high = 0, runs(handle)[0]["instruments"]
        if not everywhere:
            low = _known(handle, instrument)
            high = low + 1
        records = orders(handle)
        found = [order_from(records[0]) for _ in range(0)]
        for k in range(low, high):
            head = slots(handle)[first + k]["own_head"]
            at = head
            while at >= 0:
                found.append(order_from(records[at]))
                at = records[at]["own_next"]
                if at == head:
                    break
        return found

    return listed


@overload_method(type(ContextType), "reason")
def _ctx_reason(ctx, code):
    return lambda ctx, code: REASONS[-code] if code < 0 else ""


def _python_only(name, hint):
    @overload_attribute(type(ContextType), name)
    def refuse(ctx):
        raise refusal(f"ctx.{name} is not there in compiled handlers; {hint}")


for _name in ("instruments", "index"):
    _python_only(_name, "use it in on_start, which is always Python, and keep what you need in annotated variables")


# --------------------------------------------------------------------------------------------------- ctx: requests


@kernel(entry=False, counted=True)
def _room(handle):
    """Let Python make room in the arena."""
    if call_python(peek(handle, GROW)) == 0:
        raise MemoryError("the engine could not grow")


@kernel(entry=False, counted=True)
def _submit(ctx, instrument, side, kind, tif, flags, lots, ticks, stop_ticks, trigger, trail, expire_us, tag):
    handle = ctx.handle_
    while True:
        answer = call_at(
            peek(handle, AT_SUBMIT),
            (arena_of(handle), ctx.strategy_, instrument, side, kind, tif, flags, lots, ticks, stop_ticks, trigger,
             trail, expire_us, tag),
        )  # fmt: skip
        if answer != NEED_ROOM_CODE:
            return answer
        _room(handle)


def _given(value):
    """Whether an optional number was given, and the number or 0: in jitted code."""


@overload(_given)
def _given_jitted(value):
    if isinstance(value, (types.NoneType, types.Omitted)) or value is None:
        return lambda value: (False, 0)
    if isinstance(value, types.Optional):

        def optional(value):
            if value is None:
                return False, 0
            return True, value + 0  # the number inside

        return optional
    return lambda value: (True, np.int64(value))


def _word(value, codes, at_run_time):
    """What gives the code of a word: a constant where it is written in the source, else a look-up."""
    word = value.value if isinstance(value, types.Omitted) else getattr(value, "literal_value", value)
    if not isinstance(word, str) or word not in codes:
        return at_run_time
    constant = codes[word]

    @kernel(entry=False, inline=True)
    def answer(word):
        return constant

    return answer


@kernel(entry=False, counted=True)
def _tif_code(word):
    for k in range(len(TIF_NAMES)):
        if word == TIF_NAMES[k]:
            return k
    raise ConfigError("tif", word, "is not a time in force", "known: GTC, IOC, FOK, GTD")


@kernel(entry=False, counted=True)
def _trigger_code(word):
    for k in range(len(TRIGGER_NAMES)):
        if word == TRIGGER_NAMES[k]:
            return k
    raise ConfigError("trigger", word, "is not a trigger", "known: last, mark, touch")


def _number_only(name, value):
    if isinstance(value, (types.Float, types.UnicodeType)):
        raise refusal(f"{name} must be a whole number; write int(...)")


@register_jitable
def _send(
    ctx, instrument, side, lots, ticks, post_only, reduce_only, tif, stop_ticks, trail_ticks, trigger, expire_us, tag
):
    at = _known(ctx.handle_, instrument)
    has_ticks, price = _given(ticks)
    has_stop, stop = _given(stop_ticks)
    has_trail, trail = _given(trail_ticks)
    kind = order_kind_jitted(has_ticks, has_stop, has_trail, trail, tif, post_only, expire_us)
    if kind < 0:
        raise ConfigError(CONTRADICTIONS[-kind][0], None, CONTRADICTIONS[-kind][1])
    flags = (POST_ONLY if post_only else 0) | (REDUCE_ONLY if reduce_only else 0)
    return _submit(
        ctx, at, np.int64(side), np.int64(kind), np.int64(tif), np.int64(flags), np.int64(lots), price, stop,
        np.int64(trigger), trail, np.int64(expire_us), np.int64(tag),
    )  # fmt: skip


def _terms(lots, ticks, stop_ticks, trail_ticks, tif, trigger):
    """Check the types of an order's terms; what gives the codes of its time in force and trigger."""
    for name, value in (("lots", lots), ("ticks", ticks), ("stop_ticks", stop_ticks), ("trail_ticks", trail_ticks)):
        _number_only(name, value)
    return _word(tif, TIF_CODES, _tif_code), _word(trigger, TRIGGER_CODES, _trigger_code)


@overload_method(type(ContextType), "send", prefer_literal=True)
def _ctx_send(
    ctx, instrument, side, lots, ticks=None, post_only=False, reduce_only=False, tif="GTC", stop_ticks=None,
    trail_ticks=None, trigger="last", expire_us=0, tag=0,
):  # fmt: skip
    tif_of, trigger_of = _terms(lots, ticks, stop_ticks, trail_ticks, tif, trigger)

    def send(
        ctx, instrument, side, lots, ticks=None, post_only=False, reduce_only=False, tif="GTC", stop_ticks=None,
        trail_ticks=None, trigger="last", expire_us=0, tag=0,
    ):  # fmt: skip
        return _send(
            ctx, instrument, side, lots, ticks, post_only, reduce_only, tif_of(tif), stop_ticks, trail_ticks,
            trigger_of(trigger), expire_us, tag,
        )  # fmt: skip

    return send


def _one_side(name, side):
    @overload_method(type(ContextType), name, prefer_literal=True)
    def order(
        ctx, instrument, lots, ticks=None, post_only=False, reduce_only=False, tif="GTC", stop_ticks=None,
        trail_ticks=None, trigger="last", expire_us=0, tag=0,
    ):  # fmt: skip
        tif_of, trigger_of = _terms(lots, ticks, stop_ticks, trail_ticks, tif, trigger)

        def send(
            ctx, instrument, lots, ticks=None, post_only=False, reduce_only=False, tif="GTC", stop_ticks=None,
            trail_ticks=None, trigger="last", expire_us=0, tag=0,
        ):  # fmt: skip
            return _send(
                ctx, instrument, side, lots, ticks, post_only, reduce_only, tif_of(tif), stop_ticks, trail_ticks,
                trigger_of(trigger), expire_us, tag,
            )  # fmt: skip

        return send


_one_side("buy", 1)
_one_side("sell", -1)


@overload_method(type(ContextType), "cancel")
def _ctx_cancel(ctx, order_id):
    def cancel(ctx, order_id):
        handle = ctx.handle_
        while True:
            answer = call_at(peek(handle, AT_CANCEL), (arena_of(handle), ctx.strategy_, np.int64(order_id)))
            if answer != NEED_ROOM_CODE:
                return answer
            _room(handle)

    return cancel


@overload_method(type(ContextType), "cancel_all")
def _ctx_cancel_all(ctx, instrument=0):
    def cancel_all(ctx, instrument=0):
        handle = ctx.handle_
        at = _known(handle, instrument)
        while True:
            answer = call_at(peek(handle, AT_CANCEL_ALL), (arena_of(handle), ctx.strategy_, at))
            if answer != NEED_ROOM_CODE:
                return answer
            _room(handle)

    return cancel_all


@overload_method(type(ContextType), "modify")
def _ctx_modify(ctx, order_id, lots, ticks, stop_ticks=0):
    for name, value in (("lots", lots), ("ticks", ticks), ("stop_ticks", stop_ticks)):
        _number_only(name, value)

    def modify(ctx, order_id, lots, ticks, stop_ticks=0):
        handle = ctx.handle_
        while True:
            answer = call_at(
                peek(handle, AT_MODIFY),
                (arena_of(handle), ctx.strategy_, np.int64(order_id), np.int64(lots), np.int64(ticks),
                 np.int64(stop_ticks)),
            )  # fmt: skip
            if answer != NEED_ROOM_CODE:
                return answer
            _room(handle)

    return modify


@kernel(entry=False, counted=True)
def _plan(ctx, time_us, interval_us, tag):
    handle = ctx.handle_
    while call_at(peek(handle, AT_SET_TIMER), (arena_of(handle), ctx.strategy_, time_us, interval_us, tag)) != 0:
        _room(handle)


@overload_method(type(ContextType), "every")
def _ctx_every(ctx, interval_us, tag=0):
    _number_only("interval_us", interval_us)

    def every(ctx, interval_us, tag=0):
        if interval_us <= 0:
            raise ConfigError("interval_us", interval_us, "must be positive")
        _plan(ctx, -(-ctx.now // np.int64(interval_us)) * np.int64(interval_us), np.int64(interval_us), np.int64(tag))

    return every


@overload_method(type(ContextType), "at")
def _ctx_at(ctx, time_us, tag=0):
    _number_only("time_us", time_us)
    return lambda ctx, time_us, tag=0: _plan(ctx, np.int64(time_us), np.int64(0), np.int64(tag))


@overload_method(type(ContextType), "stop")
def _ctx_stop(ctx):
    def stop(ctx):
        runs(ctx.handle_)[0]["stopping"] = 1

    return stop


@overload_method(type(ContextType), "record", prefer_literal=True)
def _ctx_record(ctx, name, value):
    if not isinstance(name, types.StringLiteral):
        raise refusal("the name of a recorded value must be a literal string")
    if not isinstance(value, (types.Number, types.Boolean)):
        raise refusal(f"a recorded value must be a number, not {value}")
    number = record_number(name.literal_value)

    def record(ctx, name, value):
        handle = ctx.handle_
        row = (arena_of(handle), ctx.strategy_, np.int64(number), value * 1.0)
        while call_at(peek(handle, AT_RECORD), row) != 0:
            _room(handle)
            row = (arena_of(handle), ctx.strategy_, np.int64(number), value * 1.0)

    return record


__all__ = ["EVENTS", "ContextType", "context_of"]
