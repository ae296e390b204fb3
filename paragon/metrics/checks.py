"""What the metric modules share: checks of input, numbers that may be undefined, blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from paragon.errors import ParagonError

NUMBERS, INTEGERS, BOOLEANS = "fiub", "iu", "b"  # kinds of NumPy data types
_KIND_NAMES = {NUMBERS: "numbers", INTEGERS: "integers", BOOLEANS: "booleans"}
_PLACES = ("", "entry {} is ", "row {}, column {} is ")
_BLOCK = 1 << 19  # elements handled at once: some megabytes, which stay near the processor


class Measure(NamedTuple):
    """A number, or None with the reason why there is none (never NaN)."""

    value: float | None
    reason: str | None = None


def shaped(
    name: str,
    values: ArrayLike,
    axes: str,
    kind: str = NUMBERS,
    least_k: int = 1,
    **sizes: int,
) -> np.ndarray:
    """``values`` as an array; ``ParagonError`` unless it has the kind and shape asked for.

    ``axes``: one letter per axis, as in the docstrings; no axis may be empty.  ``sizes``: the
    exact length of an axis, by its letter; ``least_k``: the smallest length of axis K.
    """
    values = np.asarray(values)
    lengths = dict(zip(axes, values.shape, strict=False))
    fits = values.ndim == len(axes) and 0 not in values.shape and values.dtype.kind in kind
    if not fits or lengths.get("K", least_k) < least_k or lengths != lengths | sizes:
        rules = [f"{axis} = {size}" for axis, size in sizes.items()]
        rules += [f"K >= {least_k}"] if "K" in axes else []
        raise ParagonError(
            f"{name}: {values.dtype} of shape {values.shape}; give {_KIND_NAMES[kind]} "
            f"[{', '.join(axes)}]{' with ' if rules else ''}{', '.join(rules)}"
        )
    return values


def finite(name: str, values: ArrayLike, ndim: int = 1) -> np.ndarray:
    """``values`` as float64 with ``ndim`` axes, none empty.

    ``ParagonError`` names the first bad entry.
    """
    values = np.asarray(values)
    if values.dtype.kind not in NUMBERS or values.ndim != ndim or 0 in values.shape:
        raise ParagonError(
            f"{name}: {values.dtype} of shape {values.shape}; give numbers with {ndim} axes"
        )
    values = values.astype(np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = ", ".join(str(index) for index in bad[0])
        raise ParagonError(f"{name}: entry [{place}] is {values[tuple(bad[0])]}, not finite")
    return values


def within(name: str, values: np.ndarray | float, low: float, high: float) -> None:
    """Raise ``ParagonError`` for the first of ``values``, at most two axes, outside low..high."""
    values = np.asarray(values)
    outside = np.argwhere(~((values >= low) & (values <= high)))
    if len(outside):
        place = _PLACES[values.ndim].format(*outside[0])
        raise ParagonError(f"{name}: {place}{values[tuple(outside[0])]}, outside {low}..{high}")


def exclusion(excluded: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """``excluded [N, C]``, bool, all False for None; ``ParagonError`` for another ``shape``."""
    if excluded is None:
        return np.broadcast_to(False, shape)
    return shaped("excluded", excluded, "NC", BOOLEANS, N=shape[0], C=shape[1])


def cutoff(k: int) -> int:
    """``k`` itself; ``ParagonError`` unless it is an integer of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ParagonError(f"k: {k}; give an integer of at least 1")
    return k


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of consecutive rows, each of some million elements at most."""
    step = max(1, _BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
