"""Checks of arrays, numbers that may be undefined, and blocks of rows, for all metrics."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from paragon.errors import ParagonError

_KINDS = {"finite numbers": "fiub", "numbers": "fiub", "integers": "iu", "booleans": "b"}
_BLOCK = 1 << 19  # elements per block: some megabytes, which fit into the cache


class Measure(NamedTuple):
    """A number, or None with the reason (never NaN)."""

    value: float | None
    reason: str | None = None


def check_array(
    name: str,
    values: ArrayLike,
    axes: str = "N",
    kind: str = "finite numbers",
    low: float = -np.inf,
    high: float = np.inf,
    **sizes: int,
) -> np.ndarray:
    """Convert ``values`` to an array, finite numbers as float64; ``ParagonError`` for wrong input.

    ``axes``: one letter per axis, none empty; ``*`` in front: any others. ``sizes``: the length of
    an axis by its letter, for K the minimum. Finite numbers and integers are in ``low..high``.
    """
    values = np.asarray(values)
    axes = axes.replace("*", "*" * (values.ndim - len(axes) + 1))
    lengths = dict(zip(axes, values.shape, strict=False))
    fits = values.ndim == len(axes) and values.size and values.dtype.kind in _KINDS[kind]
    if not fits or any(lengths[a] < n or lengths[a] > n and a != "K" for a, n in sizes.items()):
        sized = "".join(f", {a} {'>=' if a == 'K' else '='} {n}" for a, n in sizes.items())
        needed = f"{kind} [{', '.join(axes)}]{sized}"
        raise ParagonError(f"{name}: {values.dtype} of shape {values.shape}; give {needed}")
    if kind in ("numbers", "booleans"):
        return values
    bad = ~np.isfinite(values) | (values < low) | (values > high)
    if bad.any():
        place = np.argwhere(bad)[0].tolist()
        value = values[tuple(place)]
        raise ParagonError(f"{name}{place or ''} is {value}; give {kind} from {low} to {high}")
    return values.astype(np.float64) if kind == "finite numbers" else values


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of consecutive rows with about half a million elements each."""
    step = max(1, _BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
