"""Where a book is crossed after a whole message."""

from __future__ import annotations

from replay.events import BOOK, CLEAR, LAST
from replay.kernel.book import NEED_ROOM, book_clear, book_set
from replay.kernel.jit import kernel

# Status
DONE, CROSSED, NO_ROOM = 0, 1, 2


@kernel
def find_crossed(events, at, books, cells):
    """Apply BOOK rows from row `at` on: (row, status).

    CROSSED: the message that ends before `row` left its book crossed or locked; NO_ROOM: the book of that row must
    grow, then go on with it; DONE: row = len(events).
    """
    while at < len(events):
        event = events[at]
        if event["kind"] == BOOK:
            i = event["instrument"]
            if event["flags"] & CLEAR:
                book_clear(books, cells, i)
            if event["side"] != 0:
                if book_set(books, cells, i, event["side"], event["price"], event["qty"]) == NEED_ROOM:
                    return at, NO_ROOM
            if event["flags"] & LAST:
                book = books[i]
                if book["bids"] > 0 and book["asks"] > 0 and book["bid_ticks"] >= book["ask_ticks"]:
                    return at + 1, CROSSED
        at += 1
    return at, DONE
