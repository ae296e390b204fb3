"""What the metric modules share: a result that may be undefined, checks, blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from paragon.errors import ParagonError

_BLOCK = 1 << 22  # elements handled at once: some tens of megabytes of temporaries


class Measure(NamedTuple):
    """A number, or None with the reason why there is none (never NaN)."""

    value: float | None
    reason: str | None = None


def finite(name: str, values: np.ndarray, ndim: int = 1) -> np.ndarray:
    """`values` as float64 with `ndim` axes, none empty; ParagonError names the first bad entry."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiub" or values.ndim != ndim or 0 in values.shape:
        raise ParagonError(
            f"{name}: {values.dtype} of shape {values.shape}; give numbers with {ndim} axes"
        )
    values = values.astype(np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = ", ".join(str(index) for index in bad[0])
        raise ParagonError(f"{name}: entry [{place}] is {values[tuple(bad[0])]}, not finite")
    return values


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of consecutive rows, each of some million elements at most."""
    step = max(1, _BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def mask(excluded: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`excluded` as an array; ParagonError unless it is bool of that shape."""
    excluded = np.asarray(excluded)
    if excluded.dtype != bool or excluded.shape != shape:
        raise ParagonError(
            f"excluded: {excluded.dtype} of shape {excluded.shape}; give bool {shape}"
        )
    return excluded


def check_indices(name: str, values: np.ndarray, size: int) -> None:
    """Raise ParagonError unless `values` are integers in 0..size - 1."""
    if values.dtype.kind not in "iu":
        raise ParagonError(f"{name}: {values.dtype}; give integer row numbers")
    if values.size and (values.min() < 0 or values.max() >= size):
        row, column = np.argwhere((values < 0) | (values >= size))[0]
        raise ParagonError(
            f"{name}: row {row}, column {column} is {values[row, column]}, outside 0..{size - 1}"
        )


def cutoff(k: int) -> int:
    """`k` as an int; ParagonError unless it is a whole number of at least 1."""
    if k != int(k) or k < 1:
        raise ParagonError(f"k: {k}; give a whole number of at least 1")
    return int(k)
