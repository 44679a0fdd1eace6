"""How far off a printed figure may be, so that the two enclose the truth: a bound holds what was rounded off, too."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

_NOISE = Decimal("1e-9")  # of floats: 100 * 0.1 is no reason to print 11


def off(figure: float, bound: float, scale: float, digits: int) -> str:
    """Write the bound of a figure that is printed in units of `scale` with so many digits; `?` if nothing bounds it."""
    if math.isinf(bound):
        return "?"
    digit, unit = Decimal(1).scaleb(-digits), Decimal(scale)
    exact = Decimal(figure) / unit
    rounded = abs(exact - exact.quantize(digit, ROUND_HALF_EVEN))
    return str((Decimal(bound) / unit + rounded - _NOISE).quantize(digit, ROUND_CEILING) + 0)  # + 0: never -0.0


def percent(share: float, bound: float, digits: int = 0) -> str:
    """Write a share, 0 to 1, with what the clocks leave open of it: `24% ±2%`; `?` where that is all of it."""
    if math.isinf(bound):
        return "?"
    text = f"{share:.{digits}%}"
    return f"{text} \u00b1{off(100 * share, 100 * bound, 1, digits)}%" if bound else text
