"""Datasets in and out of a folder of atomic files."""

from __future__ import annotations

import csv
import glob
import os
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from paragon.data import checks
from paragon.data.form import Parsed, parse, render
from paragon.data.places import SUFFIXES, Place, files, shown
from paragon.data.table import (
    GROUPS,
    TITLES,
    Dataset,
    distinct,
    fingerprint,
    first_of,
    no_users,
    titles,
)
from paragon.errors import ParagonError
from paragon.params import check_name

# The first group of which a column is there gives the categories.
CATEGORIES = (
    ("class",),
    ("genre",),
    ("genres",),
    ("categories",),
    ("category", "sub_category", "subcategory"),
)


def only_name(folder: Path) -> str:
    """The name of the one dataset that lies in ``folder``."""
    found = sorted(path.stem for path in folder.glob("*.inter"))
    if len(found) != 1:
        what = f"{len(found)} files *.inter ({', '.join(found)})" if found else "no file *.inter"
        raise ParagonError(f"{folder}: found {what}, expected exactly one")
    return found[0]


def read_files(folder: Path, name: str) -> dict[str, bytes]:
    """The raw bytes of ``NAME.inter``, ``NAME.item`` and, where there is one, ``NAME.user``."""
    contents = {}
    for suffix in SUFFIXES:
        path = folder / f"{name}.{suffix}"
        try:
            contents[suffix] = path.read_bytes()
        except FileNotFoundError:
            if suffix != "user":
                raise ParagonError(
                    f"{path} is missing: run `python -m paragon fetch {name}`, or with `--from "
                    "DIR` for files of your own"
                ) from None
        except OSError as error:
            raise ParagonError(f"{path} cannot be read: {error.strerror}") from None
    return contents


def read_atomic(folder: Path, name: str | None = None) -> Dataset:
    """Read and check ``folder/NAME.{inter,item,user}``; the user file may be missing.

    ``NAME`` may be left out if the folder holds one dataset.  Columns used:
    ``user_id``, ``item_id``, ``timestamp`` and, if there, ``rating`` of the
    interactions; ``item_id``, the title and the categories of the items
    (``TITLES`` and ``CATEGORIES`` list the names known); ``user_id`` and
    ``group`` or ``gender`` of the users.  Raises ``ParagonError`` with file,
    line and column.
    """
    folder = Path(folder)
    name = name or only_name(folder)
    return build(name, read_files(folder, name), files(folder, name))


def build(
    name: str, contents: dict[str, bytes], places: dict[str, Place], source: str = "own"
) -> Dataset:
    """The dataset in files already read; ``places`` serve the messages."""
    repairs: dict[str, int] = {}
    events = parse(
        places["inter"],
        contents["inter"],
        needed=("user_id", "item_id", "timestamp"),
        numeric=("rating", "timestamp"),
    )
    interactions = checks.clean_interactions(events.frame, events.place, repairs)

    parsed = parse(places["item"], contents["item"], needed=("item_id",), numeric=())
    items = checks.clean_items(_items(parsed), parsed.place, repairs)
    items = checks.add_unknown_items(interactions, items, events.place, parsed.place, repairs)

    users = no_users()
    if "user" in contents:
        people = parse(places["user"], contents["user"], needed=("user_id",), numeric=())
        users = checks.clean_users(_users(people), interactions, people.place, repairs)
    return Dataset(name, interactions, items, users, source, fingerprint(contents), repairs)


def _items(parsed: Parsed) -> pd.DataFrame:
    frame = parsed.frame
    title = first_of(TITLES, frame)
    lists = [
        _split(frame[name], parsed.types[name], parsed.place)
        for name in _category_columns(parsed.types, parsed.place)
    ]
    ids = frame["item_id"]
    return pd.DataFrame(
        {
            "item_id": ids,
            "title": titles(frame[title] if title else None, ids, parsed.place),
            "categories": [distinct(sum(parts, [])) for parts in zip(*lists, strict=True)],
        }
    )


def _category_columns(types: dict[str, str], place: Place) -> list[str]:
    for group in CATEGORIES:
        found = [name for name in group if name in types]
        if found:
            return found
    known = ", ".join(group[0] for group in CATEGORIES)
    raise place.whole(
        f"no column says which are the categories: call one of them {known} "
        f"(columns found: {', '.join(types)})"
    )


def _split(column: pd.Series, kind: str, place: Place) -> list[list[str]]:
    """The categories of each row: one for ``token``, else separated by spaces or ", ".

    Both separators are in use; a comma followed by a space anywhere in the
    column decides for the second.  A row of several words that no other row
    shows to be one name is then an error, because it may be meant the first
    way.  Quotes around names tell where they end in either case.
    """
    commas = column.str.contains(", ", regex=False).any()
    quoted = [_quoted(text) for text in column]
    if kind == "token":
        rows = [[text] for text in column]
    elif commas:
        parts = column.str.split(", ")
        rows = [
            known or [p.strip("'\" ") for p in names]
            for known, names in zip(quoted, parts, strict=True)
        ]
    else:
        rows = [known or text.split() for known, text in zip(quoted, column, strict=True)]
    shared = {name for names in rows if len(names) > 1 for name in names}
    for row, (text, names) in enumerate(zip(column, rows, strict=True)):
        whole = kind == "token" or bool(quoted[row])
        if any(map((_MARKS if whole else _MARKS_AND_COMMA).search, names)):
            raise place.error(
                row, column.name, text, "names separated by spaces or by ', '",
                "put no other separator in a name",
            )  # fmt: skip
        alone = commas and not whole and len(names) == 1 and names[0] not in shared
        if alone and " " in names[0]:
            raise place.error(
                row, column.name, text, "names separated by ', ' as in other rows",
                "write spaces in a name as '_', or quotes around it",
            )  # fmt: skip
    return rows


_MARKS = re.compile(r"[|;\[\]]")
_MARKS_AND_COMMA = re.compile(r"[|;,\[\]]")


def _quoted(text: str) -> list[str]:
    """The names in a text of quoted names separated by commas; none in any other text."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] not in "'\"":
        return []
    names = next(csv.reader([text], quotechar=text[0], skipinitialspace=True))
    return [name.strip("'\"") for name in names]


def _users(parsed: Parsed) -> pd.DataFrame:
    frame = parsed.frame
    group = first_of(GROUPS, frame)
    return pd.DataFrame({"user_id": frame["user_id"], "group": frame[group] if group else ""})


def write_atomic(dataset: Dataset, folder: Path) -> Path:
    """Write ``folder/NAME.{inter,item,user}`` and return ``folder``.

    Equal datasets give equal bytes.  Whatever would end or split a category
    becomes "_", because the format separates categories by spaces.  The folder
    is replaced as a whole or not at all, and only if it holds nothing else.
    """
    check_name(dataset.name)
    contents = render(dataset.interactions, dataset.items, dataset.users)
    files = {f"{dataset.name}.{suffix}": data for suffix, data in contents.items()}
    replace_folder(Path(folder), dataset.name, files)
    return Path(folder)


def replace_folder(target: Path, name: str, files: dict[str, bytes]) -> None:
    """Put exactly these files where the atomic files of ``name`` were, all of them or none.

    The new folder is written beside the old one and takes its place at the end.
    A folder that holds anything else is not ours to remove, and is refused.
    """
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f".{glob.escape(target.name)}.fetching-*"):  # of a killed process
            _clear(left, target)
        _check_ours(target, name)
        stage = Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}.fetching-"))
        try:
            (stage / "new").mkdir()
            for filename, data in files.items():
                (stage / "new" / filename).write_bytes(data)
            if target.exists():
                os.rename(target, stage / "old")
            os.rename(stage / "new", target)
        finally:
            _clear(stage, target)
    except OSError as error:
        raise ParagonError(f"cannot write to {parent}: {error.strerror or error}") from None


def _clear(stage: Path, target: Path) -> None:
    """Remove a stage; an old folder in it first goes back, unless a new one took its place."""
    if (stage / "old").exists() and not target.exists():
        os.rename(stage / "old", target)
    shutil.rmtree(stage, ignore_errors=True)


def _check_ours(target: Path, name: str) -> None:
    """Refuse a target whose replacement would remove more than a dataset's own files."""
    if not target.is_dir():
        if os.path.lexists(target):
            raise ParagonError(f"{target} is no folder: move it elsewhere, nothing was changed")
        return
    ours = {f"{name}.{suffix}" for suffix in (*SUFFIXES, "source.json")}
    foreign = sorted(p.name for p in target.iterdir() if p.name not in ours or not p.is_file())
    if foreign:
        raise ParagonError(
            f"{target} holds {shown(foreign[0])}, which is not one of the files of {name}: move "
            "it elsewhere, nothing was changed"
        )
