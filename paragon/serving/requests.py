"""Requests: what people ask for, checked before anything is computed.

In this file: histories, weights, lengths and filters from outside, and the words in which they
are refused.  Shapes: O objectives, n items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from paragon.errors import ParagonError, shown
from paragon.serving.items import Items

Rerank = Literal["xquad"]  # the rules by which a list is re-ranked
RULE: Rerank = get_args(Rerank)[0]


@dataclass(frozen=True)
class History:
    """What somebody did: ``items``, ids, oldest first.

    ``times``, in seconds since 1970, and ``user``, a name in the data, may be unknown.  Without
    times all events count as simultaneous, which only TiSASRec minds.  Somebody unknown has no
    embedding and no group, which LightGCN, NGCF and DeepFM mind.
    """

    items: Sequence[str]
    times: Sequence[int] | None = None
    user: str | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """One list that is asked for, checked.

    ``items``: numbers 1..n of the known items of the history, ``times`` of the same length;
    ``user``: a number, -1 if unknown; ``unknown``: how many items were skipped; ``weights [O]``;
    ``blocked [n + 1]``: true for what a filter leaves out, or None.
    """

    items: list[int]
    times: list[int] | None
    user: int
    unknown: int
    weights: np.ndarray
    k: int
    blocked: np.ndarray | None = None
    rerank: str | None = None
    exclude_seen: bool = True


def check_k(k: object, items: Items) -> int:
    """The length of a list; raises ``ParagonError`` unless it is a whole number from 1 to n."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise ParagonError(
            f"k: {shown(k)} is not a whole number; give the length of the list, 10 say"
        )
    if not 1 <= k <= len(items):
        raise ParagonError(
            f"k: {shown(int(k))} is out of range; there are {len(items):,} items, use 1 to that"
        )
    return int(k)


def check_rerank(rerank: object, fitted: bool) -> str | None:
    """The name of a re-ranker or None; ``fitted``: whether a recommender has re-rankers."""
    if rerank is None:
        return None
    if not isinstance(rerank, str) or rerank != RULE:
        raise ParagonError(f"rerank: {shown(rerank)} is unknown; known: {RULE}, or None")
    if not fitted:
        raise ParagonError(
            f"rerank: {RULE!r} was never fitted on validation events; a recommender that was "
            "exported (`python -m paragon export DIR`) has it"
        )
    return RULE


def check_history(history: object, items: Items) -> tuple[list[int], list[int] | None, int, int]:
    """``items``, ``times``, ``user`` and ``unknown`` of a :class:`Request`.

    ``history``: ids, oldest first, or a :class:`History`.  Ids that are not known are skipped.
    Raises ``ParagonError`` for anything else, for an empty history, for times of another number
    or that are no whole numbers, and for a user who is not known.
    """
    own = history if isinstance(history, History) else History(history)  # type: ignore[arg-type]
    found = _numbers(own.items, items, "history")
    if not found:
        raise ParagonError(
            "history: empty; at least one item is needed (an item that is not known will do: then "
            "the most popular ones are shown)"
        )
    times, user = _times(own.times, len(found)), -1
    if own.user is not None:
        if not isinstance(own.user, str) or own.user not in items.users:
            why = "" if items.users else "; nobody is known to a model exported without people"
            raise ParagonError(f"user: {shown(own.user)} is not in the data{why}; leave it out")
        user = items.users[own.user]
    if None not in found:
        return found, times, user, 0  # type: ignore[return-value]
    known = [number for number in found if number is not None]
    if times is not None:
        times = [time for time, number in zip(times, found, strict=True) if number is not None]
    return known, times, user, len(found) - len(known)


def check_filter(
    only: Iterable[str] | None, without: Iterable[str] | None, items: Items
) -> np.ndarray | None:
    """``blocked`` of a :class:`Request`; raises ``ParagonError`` for an id that is not known."""
    if only is None and without is None:
        return None
    blocked = np.zeros(len(items) + 1, dtype=bool)
    for name, given in (("only", only), ("without", without)):
        if given is None:
            continue
        given = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else given
        found = _numbers(given, items, name)
        unknown = [item for item, number in zip(given, found, strict=True) if number is None]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ParagonError(f"{name}: item {shown(unknown[0])}{more} is not known")
        if name == "only":
            blocked[:] = True
        blocked[np.array(found, dtype=np.int64)] = name == "without"
    return blocked


def check_one_weights(weights: object, names: Sequence[str], normalise: bool) -> np.ndarray:
    """Weights ``[O]`` of one request, float32: a mapping by objective, or O numbers in order.

    An objective that is not named has the weight 0.  Raises ``ParagonError`` for an unknown name,
    for several rows, and as :func:`check_many_weights` does.
    """
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in names:
                known = ", ".join(names)
                raise ParagonError(f"weights: objective {shown(name)} is unknown; known: {known}")
        weights = [weights.get(name, 0.0) for name in names]
    elif isinstance(weights, str) or not isinstance(weights, Iterable):
        raise ParagonError(f"weights: {shown(weights)} is neither a mapping nor a list of numbers")
    table = _table(weights)
    if table.ndim == 2 and len(table) != 1:
        raise ParagonError(
            f"weights: {len(table)} rows for one history; give one, or ask for many lists with "
            "recommend_many"
        )
    return check_many_weights(table, names, 1, normalise)[0]


def check_many_weights(
    weights: object, names: Sequence[str], count: int, normalise: bool
) -> np.ndarray:
    """Weights ``[count, O]`` of many requests, float32; one vector counts for all.

    Raises ``ParagonError``, with the row, for weights that are not finite, negative or, unless
    they are to be normalised, do not sum to 1 (within 1e-4), and for another shape.
    """
    if isinstance(weights, Mapping):
        weights = check_one_weights(weights, names, normalise)
    table = _table(weights)
    if table.ndim == 1:
        table = table.reshape(1, -1)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ParagonError(
            f"weights: {len(names)} numbers are needed, one for each of {', '.join(names)}; "
            f"found shape {table.shape}"
        )
    if len(table) not in (1, count):
        raise ParagonError(f"weights: {len(table)} rows for {count} histories; give one for each")
    with np.errstate(over="ignore"):
        total = table.sum(1)
    wrong = ~np.isfinite(table).all(1) | (table < 0).any(1) | ~(total > 0)
    if not normalise:
        wrong |= np.abs(total - 1) > 1e-4
    if wrong.any():
        row = int(wrong.argmax())
        found = ", ".join(f"{x:g}" for x in table[row].tolist())
        where = f"row {row}: " if len(table) > 1 else ""
        raise ParagonError(
            f"weights: {where}({found}): every weight must be a finite number of at least 0, and "
            "their sum 1; `normalise=True` divides by the sum"
        )
    if normalise:
        # Of huge weights the sum is infinite; division by 1 leaves the others as they are.
        table = table / np.where(np.isinf(total), table.max(1), 1)[:, None]
        table = table / table.sum(1)[:, None]
    return np.broadcast_to(table.astype(np.float32), (count, len(names)))


def _table(weights: object) -> np.ndarray:
    try:
        table = np.asarray(weights if isinstance(weights, np.ndarray) else list(weights))  # type: ignore[call-overload]
        if table.dtype.kind not in "fiu":
            raise TypeError(f"{table.dtype.name} is no kind of number")
        return table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ParagonError(f"weights: {shown(weights)} is no list of numbers ({error})") from error


def _numbers(given: object, items: Items, what: str) -> list[int | None]:
    """The number of every id, None where it is unknown; refuses what is no list of ids."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ParagonError(f"{what}: {shown(given)} is not a list; give a list of item ids")
    number, given = items.numbers.get, list(given)
    try:
        found = list(map(number, given))
    except TypeError as error:  # an item that cannot be a key
        raise ParagonError(f"{what}: every item must be an id, a text ({error})") from error
    for item, known in zip(given, found, strict=True):
        if known is None and not isinstance(item, str):
            kind = type(item).__name__
            text = f"'{shown(item)}'" if isinstance(item, int) else shown(str(item))
            raise ParagonError(f"{what}: {shown(item)} is a {kind}; ids are texts: give {text}")
    return found


def _times(times: object, count: int) -> list[int] | None:
    if times is None:
        return None
    try:
        array = np.asarray(times)
    except ValueError:  # rows of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ParagonError("times: whole numbers are needed, the seconds since 1970 of each event")
    if np.abs(array.astype(np.float64)).max(initial=0) > 2**60:
        raise ParagonError("times: a number is out of range; give the seconds since 1970")
    if len(array) != count:
        raise ParagonError(f"history: {count} items with {len(array)} times")
    return array.tolist()
