"""Sequence gaps: one small table-driven state machine per instrument.

A venue numbers its book messages.  A delta carries `first` (U), `last` (u) and `prev` (pu, −1 where the venue has
none); a snapshot carries one id S.  A venue rule is one row of integers in `RULES`:

    stale     a delta with last < S + stale_shift is already part of the snapshot
    join      the first kept delta must cover S + join_shift (first ≤ S + join_shift ≤ last), or, where join_prev is
              set, have prev = S; where join_chain is set it must simply continue the chain from S
    chain     afterwards COVER: first ≤ book + 1;  PREV: prev = book;  LINK: prev = book, or −1: the venue does not
              link its messages, so nobody can tell whether one is missing

    EMPTY ──delta──▶ BUFFERING ──snapshot──▶ AWAIT_FIRST ──delta that joins──▶ LIVE ──hole──▶ STALE ──snapshot──▶ …

Deltas are kept aside while BUFFERING or STALE and judged again (`on_buffered`) when a snapshot has been loaded.
`breaks` counts each place where two neighbours of the stream do not follow each other, whatever the state, on arrival
only; `seen` is the last id of the stream.  A delta whose last id is not above `seen` is a duplicate and changes
nothing; with LINK one that names `seen` as its predecessor is none, for a venue may begin its numbers anew.

Other venues send full books in the stream itself: `on_reset` loads one whatever was before, so there is nothing to
join.  `on_loss` is told when the stream was interrupted.  Policies: WAIT and REFETCH make the book STALE at a hole
(they differ in who brings the snapshot), BRIDGE keeps the book and applies on.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel

# Chains
COVER, PREV, LINK = 0, 1, 2

RULE = np.dtype([("stale_shift", "<i8"), ("join_shift", "<i8"), ("join_prev", "<i8"), ("join_chain", "<i8"),
                 ("chain", "<i8")])  # fmt: skip

BINANCE_SPOT, BINANCE_FUTURES, LINKED = 0, 1, 2
RULES = np.array(
    [
        (1, 1, 0, 0, COVER),
        (0, 0, 1, 0, PREV),
        (1, 0, 0, 1, LINK),  # Bybit, OKX, Deribit, …: the message names its predecessor, where it can
    ],
    RULE,
)

# States
EMPTY, BUFFERING, AWAIT_FIRST, LIVE, STALE = 0, 1, 2, 3, 4
STATE_NAMES = ("empty", "buffering", "live", "live", "stale")

# Policies
WAIT, REFETCH, BRIDGE = 0, 1, 2
POLICIES = {"wait": WAIT, "refetch": REFETCH, "bridge": BRIDGE}

# Verdicts on a delta
APPLY, OLD, DUPLICATE, BUFFER, BREAK, BRIDGED = 1, 2, 3, 4, 5, 6
# Verdicts on a snapshot
LOAD, REFUSE, IGNORE = 11, 12, 13

MACHINE = np.dtype(
    [
        ("state", "<i8"),
        ("book_id", "<i8"),
        ("seen", "<i8"),
        ("has_seen", "<i8"),
        ("depth", "<i8"),
        ("applied", "<i8"),
        ("stale", "<i8"),
        ("duplicates", "<i8"),
        ("breaks", "<i8"),
        ("snapshots", "<i8"),
        ("refused", "<i8"),
        ("ignored", "<i8"),
    ]
)


@kernel
def follows(rule, book_id, first, last, prev):
    """Whether a delta continues a book that stands at `book_id`."""
    if rule["chain"] == PREV:
        return prev == book_id
    if rule["chain"] == LINK:
        return prev == book_id or prev < 0
    return first <= book_id + 1


@kernel
def joins(rule, snapshot_id, first, last, prev):
    """Whether a delta that is not stale can be the first one after the snapshot."""
    if rule["join_chain"] == 1:
        return follows(rule, snapshot_id, first, last, prev)
    if rule["join_prev"] == 1 and prev == snapshot_id:
        return True
    target = snapshot_id + rule["join_shift"]
    return first <= target and target <= last


@kernel
def is_old(rule, snapshot_id, last):
    """Whether a delta that ends at `last` is already part of the snapshot."""
    return last < snapshot_id + rule["stale_shift"]


@kernel
def begins_anew(machine, rule, last, prev):
    """Whether a delta continues the stream with a smaller id, or has none (−1)."""
    if rule["chain"] != LINK:
        return False
    return last < 0 or (prev == machine["seen"] and last < machine["seen"])


@kernel
def on_buffered(machine, rule, policy, first, last, prev):
    """Verdict (APPLY, OLD, BREAK, BRIDGED) on a delta for a loaded book; state must be AWAIT_FIRST or LIVE."""
    if machine["state"] == AWAIT_FIRST:
        if is_old(rule, machine["book_id"], last):
            machine["stale"] += 1
            return OLD
        good = joins(rule, machine["book_id"], first, last, prev)
    else:
        good = follows(rule, machine["book_id"], first, last, prev)
    if not good and policy != BRIDGE:
        machine["state"] = STALE
        return BREAK
    machine["book_id"] = last
    machine["state"] = LIVE
    machine["applied"] += 1
    return APPLY if good else BRIDGED


@kernel
def on_delta(machine, rule, policy, first, last, prev):
    """Verdict on a delta that just arrived; BUFFER and BREAK ask the caller to keep it aside."""
    machine["depth"] += 1
    if machine["has_seen"] == 1 and last <= machine["seen"] and not begins_anew(machine, rule, last, prev):
        machine["duplicates"] += 1
        return DUPLICATE
    broken = machine["has_seen"] == 1 and not follows(rule, machine["seen"], first, last, prev)
    machine["seen"] = last
    machine["has_seen"] = 1
    if broken:
        machine["breaks"] += 1
    if machine["state"] == EMPTY:
        machine["state"] = BUFFERING
    if machine["state"] == BUFFERING or machine["state"] == STALE:
        return BUFFER
    verdict = on_buffered(machine, rule, policy, first, last, prev)
    if not broken and verdict in (BREAK, BRIDGED):
        machine["breaks"] += 1
    return verdict


@kernel
def on_snapshot(machine, rule, snapshot_id, kept, first, last, prev):
    """Verdict (LOAD, REFUSE, IGNORE) on a snapshot.

    `kept` says whether a buffered delta exists that the snapshot does not cover; `first, last, prev` are the ids of
    the earliest such delta.  REFUSE: the snapshot is too old to join it.  IGNORE: the book is already newer.
    """
    machine["snapshots"] += 1
    usable = machine["state"] == LIVE or machine["state"] == AWAIT_FIRST
    if usable and snapshot_id <= machine["book_id"]:
        machine["ignored"] += 1
        return IGNORE
    if kept and not joins(rule, snapshot_id, first, last, prev):
        machine["refused"] += 1
        return REFUSE
    machine["book_id"] = snapshot_id
    machine["state"] = AWAIT_FIRST
    return LOAD


@kernel
def on_reset(machine, book_id):
    """A full book in the stream replaces whatever was there; `book_id` is −1 where the venue has no ids."""
    machine["snapshots"] += 1
    machine["book_id"] = book_id
    machine["seen"] = book_id
    machine["has_seen"] = 1
    machine["state"] = LIVE


@kernel
def on_loss(machine):
    """The stream was interrupted: True when that makes a valid book invalid."""
    machine["has_seen"] = 0
    if machine["state"] != LIVE and machine["state"] != AWAIT_FIRST:
        return False
    machine["state"] = STALE
    machine["breaks"] += 1
    return True
