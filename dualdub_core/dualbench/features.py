"""What every metric demands of features: finite rows of one width.

Letters: N rows, D width.
"""

from torch import Tensor

from ..errors import InputError


def as_features(features: Tensor, what: str, *, min_rows: int = 1, width: int | None = None) -> Tensor:
    """The features (N, D) in float64 on the CPU.

    Args:
        features: (N, D) numbers.
        what: names them in the error.
        min_rows: the fewest that will do.
        width: the D to be, or any when None.

    Raises:
        InputError: another shape, too few rows, or values that are not finite.
    """
    if features.ndim != 2:
        raise InputError(f"{what}: got shape {tuple(features.shape)}, expected (clips, width)")
    if features.shape[0] < min_rows:
        raise InputError(f"{what}: got {features.shape[0]} rows, expected at least {min_rows}; score more clips")
    if width is not None and features.shape[1] != width:
        raise InputError(f"{what}: got width {features.shape[1]}, expected {width}; both sides need the same network")
    features = features.detach().cpu().double()
    bad = (~features.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad:
        raise InputError(f"{what}: got NaN or infinite values in row {bad[0]}, expected finite ones; check that clip")
    return features


def as_pairs(first: Tensor, second: Tensor, what: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Both as (N, D) of one shape, row by row a pair.

    Raises:
        InputError: as `as_features`, or one side has more rows.
    """
    first = as_features(first, what[0])
    second = as_features(second, what[1], width=first.shape[1])
    if first.shape[0] != second.shape[0]:
        raise InputError(
            f"{what[0]} and {what[1]}: got {first.shape[0]} and {second.shape[0]} rows, expected pairs; "
            "leave clips out on both sides or on none"
        )
    return first, second
