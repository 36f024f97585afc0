"""Whether a setting is a number within its limits, however it came: from code, a command line, a table or a graph."""

import math
from numbers import Integral, Real
from typing import Any


def within(value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> bool:  # noqa: ANN401
    """Whether a value is a number from `low` to `high`; text, truth values, NaN and infinity are not.

    Args:
        value: anything.
        low: the least that is allowed.
        high: the most that is allowed.
        whole: whether it must be a whole number by its type, as counts and seeds are.
    """
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    return is_number and bool(low <= value <= high) and (whole or math.isfinite(value))
