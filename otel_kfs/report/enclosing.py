"""How far off a printed figure may be, so that the two enclose the truth: a bound holds what was rounded off, too."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal


def off(figure: float | Decimal, bound: float | Decimal, scale: float, digits: int) -> str:
    """Write the bound of a figure that is printed in units of `scale` with so many digits; `?` if nothing bounds it."""
    if math.isinf(bound):
        return "?"
    digit, unit = Decimal(1).scaleb(-digits), Decimal(scale)
    exact = Decimal(figure) / unit
    rounded = abs(exact - exact.quantize(digit, ROUND_HALF_EVEN))
    return str((Decimal(bound) / unit + rounded).quantize(digit, ROUND_CEILING) + 0)  # + 0: never -0.0


def percent(share: float, bound: float, digits: int = 0) -> str:
    """Write a share, 0 to 1, with what the clocks leave open of it: `24% ±2%`; `?` where that is all of it."""
    if math.isinf(bound):
        return "?"
    text = f"{share:.{digits}%}"
    # Floats are not exact: 100 * 0.28 is a little more than 28, and no reason to print a wider bound.
    figure, half = (Decimal(f"{100 * value:.9f}") for value in (share, bound))
    return f"{text} \u00b1{off(figure, half, 1, digits)}%" if bound else text
