"""Where a resting order stands in the queue of its level.

`front` is the estimate of what lies ahead, in lots; it begins as the level's full venue size.  Prints take from it
directly; between prints the level shrinks by cancels ahead of us or behind us, nobody knows which, and the models
differ in their guess.  For a change of the level from `before` to `after` lots, `cancelled = before - after - printed`
(what was printed since the last change is already counted), `behind = before - front`:

    front' = front - (1 - P)·cancelled + min(behind - P·cancelled, 0),   at most `after`

where P is the share of the decrease that happened behind us; with f(x) = x^n and g(x) = ln(1 + x):
power f(B)/(f(B)+f(F)), power-2 f(B)/f(B+F), power-3 1 - f(F/(F+B)), log g(B)/(g(B)+g(F)), log-2 g(B)/g(B+F).
Risk-averse: nobody ahead ever cancels, `front' = min(front, after)`.  The logarithms see sizes in the instrument's
unit (coins, contracts), not lots, because they are not scale-free.
"""

from __future__ import annotations

import math

from replay.kernel.codes import (
    QUEUE_LOG,
    QUEUE_LOG_2,
    QUEUE_POWER,
    QUEUE_POWER_2,
    QUEUE_RISK_AVERSE,
)
from replay.kernel.hooks import LAST_CODE, call_hook
from replay.kernel.jit import kernel


@kernel
def power(x, n):
    """x^n; NaN for a negative x and a fractional n, infinite beyond float64, as in IEEE 754 (Python would raise)."""
    if x < 0.0 and n != math.floor(n):
        return math.nan
    if abs(x) > 1.0 and n * math.log(abs(x)) > 709.0:
        return math.inf if x > 0.0 or n % 2.0 == 0.0 else -math.inf
    return math.pow(x, n)


@kernel
def log1(x):
    """ln(1 + x); -inf at x = -1, NaN below."""
    if x <= -1.0:
        return -math.inf if x == -1.0 else math.nan
    return math.log(1.0 + x)


@kernel
def ratio(a, b):
    """a / b by IEEE 754: x/0 is infinite, 0/0 is NaN."""
    if b != 0.0:
        return a / b
    return math.nan if a == 0.0 or math.isnan(a) else math.inf


@kernel
def share_behind(kind, n, front, behind, lot):
    """P; in [0, 1] while front and behind are not negative and not both zero, NaN or infinite outside."""
    if kind == QUEUE_POWER:
        b = power(behind, n)
        return ratio(b, b + power(front, n))
    if kind == QUEUE_POWER_2:
        return ratio(power(behind, n), power(behind + front, n))
    if kind == QUEUE_LOG:
        g = log1(behind * lot)
        return ratio(g, g + log1(front * lot))
    if kind == QUEUE_LOG_2:
        return ratio(log1(behind * lot), log1((behind + front) * lot))
    return 1.0 - power(ratio(front, front + behind), n)


@kernel
def front_after_change(kind, n, front, printed, before, after, lot, bounded):
    """The new front of an order after its level went from `before` to `after` lots (all float64 lots).

    An infinite P counts as 1, an undefined result as `after`.  `bounded` keeps the front in [0, after].  A user's own
    model is asked with (front, printed, before, after, lot, n), and its answer is bounded in any case.
    """
    if kind > LAST_CODE:
        moved = call_hook(kind, front, printed, before, after, lot, n)
        return after if math.isnan(moved) else min(max(moved, 0.0), after)
    if kind == QUEUE_RISK_AVERSE:
        return min(front, after)
    cancelled = before - after - printed
    if cancelled < 0.0:
        return min(front, after)
    behind = before - front
    share = share_behind(kind, n, front, behind, lot)
    if math.isinf(share):
        share = 1.0
    moved = front - (1.0 - share) * cancelled + min(behind - share * cancelled, 0.0)
    if math.isnan(moved):
        return after
    if bounded:
        moved = max(moved, 0.0)
    return min(moved, after)
