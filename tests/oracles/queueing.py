"""Queue rules as the specification writes them, on NumPy floats: IEEE 754 for every division, power and logarithm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

KINDS = ("risk-averse", "power", "power-2", "power-3", "log", "log-2")


def c_pow(x: float, n: float) -> float:
    """C's pow for a positive exponent (NumPy takes the square root for 0.5, which differs at minus infinity)."""
    try:
        return math.pow(x, n)
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf


def share_behind(kind: str, n: float, front: float, behind: float, lot: float) -> np.float64:
    """P for the front F and the rest B of a level: `f(x) = x^n`, `g(x) = ln(1 + x)` of sizes in coins."""
    with np.errstate(all="ignore"):
        ahead, back = np.float64(front), np.float64(behind)

        def f(x: np.float64) -> np.float64:
            return np.float64(c_pow(float(x), n))

        def g(x: np.float64) -> np.float64:
            return np.log(1.0 + x * lot)

        formulas: dict[str, Callable[[], np.float64]] = {
            "power": lambda: f(back) / (f(back) + f(ahead)),
            "power-2": lambda: f(back) / f(back + ahead),
            "power-3": lambda: 1.0 - f(ahead / (ahead + back)),
            "log": lambda: g(back) / (g(back) + g(ahead)),
            "log-2": lambda: g(back) / g(back + ahead),
        }
        return formulas[kind]()


def front_after(
    kind: str, n: float, front: float, printed: float, before: float, after: float, lot: float, bounded: bool
) -> float:
    """F' of the specification; an infinite P counts as 1, an undefined result as `after`."""
    cancelled = before - after - printed
    if kind == "risk-averse" or cancelled < 0:
        return min(front, after)
    behind = before - front
    share = share_behind(kind, n, front, behind, lot)
    with np.errstate(all="ignore"):
        if np.isinf(share):
            share = np.float64(1.0)
        moved = front - (1.0 - share) * cancelled + np.minimum(behind - share * cancelled, 0.0)
    if np.isnan(moved):
        return after
    return float(min(max(moved, 0.0) if bounded else moved, after))
