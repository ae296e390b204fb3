"""Checks of arrays, numbers that may be undefined, and blocks of rows, for all metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from paragon.errors import ParagonError, shown

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

    ``axes``: one letter per axis, none empty; ``*`` in front means any others. ``sizes``: the
    length of an axis by its letter, for K the minimum. Numbers must be in ``low..high``.
    """
    values = np.asarray(values)
    axes = axes.replace("*", "*" * (values.ndim - len(axes) + 1))
    lengths = dict(zip(axes, values.shape, strict=False))
    fits = values.ndim == len(axes) and values.size and values.dtype.kind in _KINDS[kind]
    sized = fits and all(
        lengths[axis] >= size if axis == "K" else lengths[axis] == size
        for axis, size in sizes.items()
    )
    if not sized:
        found = f"{values.dtype} of shape {values.shape}" if values.ndim else shown(values.item())
        rules = [f"{axis} {'>=' if axis == 'K' else '='} {size}" for axis, size in sizes.items()]
        wanted = f" [{', '.join(axes)}]" if axes else ", a single one"
        wanted += f" with {', '.join(rules)}" if rules else ""
        raise ParagonError(f"{name}: {found}; give {kind}{wanted}")
    good: np.ndarray | np.bool_ = np.True_
    if kind == "finite numbers":
        values = values.astype(np.float64)
        good = np.isfinite(values)
    if low > -np.inf or high < np.inf:
        good = good & (values >= low) & (values <= high)
    if not good.all():
        place = np.argwhere(~good)[0].tolist()
        entry = f"entry {place} is " if place else ""
        limits = "finite" if low == -np.inf and high == np.inf else f"in {low}..{high}"
        raise ParagonError(f"{name}: {entry}{values[tuple(place)]}, it has to be {limits}")
    return values


def cutoff(k: int) -> int:
    """Return ``k``; ``ParagonError`` unless it is an integer of at least 1."""
    return int(check_array("k", k, "", "integers", low=1))


def exclusion(excluded: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Return ``excluded [N, C]``, bool; None becomes all False. Check that it has the ``shape``."""
    if excluded is None:
        return np.broadcast_to(False, shape)
    return check_array("excluded", excluded, "NC", "booleans", N=shape[0], C=shape[1])


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of consecutive rows with about half a million elements each."""
    step = max(1, _BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
