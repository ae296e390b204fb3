"""Bring a dataset into ``data/``: get, convert, check, label, put in place.

A label, ``Dataset.source``, says how far the data is known to be the official one.  Where the
checksums of the atomic files are known (ML-100K), the files themselves show it, and nothing
else is stored: the pinned folder has the same bytes whichever source served it.  Everywhere
else ``NAME.source.json`` beside the files has the label; it holds checksums, what was changed on
the way and no paths or dates, so it too is the same for the same source.

A copy that has more or fewer rows than what was published is refused, unless its owner says what
kind of copy it is; then the label says so too.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from paragon.data.atomic import (
    dataset_in_files,
    dataset_in_tables,
    only_dataset_in,
    read_contents,
)
from paragon.data.files import Files, download_dataset, locked, replace_folder
from paragon.data.formats import FORMATS
from paragon.data.registry import REGISTRY, SAME_FILES
from paragon.data.table import Dataset, atomic_bytes, sums_of
from paragon.errors import ParagonError
from paragon.storage import check_name

SOURCES = ("default", "official")
OFFICIAL = "official (checksums match)"
UNVERIFIED = "official address, unverified (no checksum is published)"
FOLDER = "folder (not the official file)"
FOLDER_UNVERIFIED = "folder, unverified (no checksum is published)"


def load_dataset(name: str, data: Path) -> Dataset:
    """Read ``data/NAME/NAME.{inter,item,user}``, checked and labelled by its source.

    Raises ``ParagonError`` if a file is missing, cannot be read, or is not what ``fetch`` put
    there.
    """
    check_name(name)
    folder = Path(data) / name
    with locked(folder):
        if not folder.is_dir() and name not in REGISTRY:
            known = f"known datasets are {_known_or_own(name)}"
            raise ParagonError(f"{folder} does not exist: {known}")
        contents = read_contents(Files(folder), name)
        source, changed = _label_of(folder, name, contents)
    dataset = dataset_in_files(name, folder / name, contents)
    _sized(name, source, dataset, folder)
    return replace(dataset, source=source, repairs=changed | dataset.repairs)


def fetch(
    name: str,
    *,
    source: str = "default",
    directory: Path | None = None,
    words: str = "",
    data: Path,
) -> Path:
    """Put the atomic files of a dataset into ``data/NAME`` and return that folder.

    ``source="official"`` takes the publisher's address where the default is another;
    ``directory`` takes a folder (or zip archive) the user already has, in the published form
    or as atomic files; under a name that is not in the registry it must hold atomic files.
    ``words`` say what kind of copy such a folder holds and go into the label of a known
    dataset's source.  What is already in place and official is not fetched again.  Raises
    ``ParagonError`` and leaves ``data/NAME`` as it was if anything is wrong.
    """
    check_name(name)
    target = Path(data) / name
    if source not in SOURCES:
        raise ParagonError(f"unknown source {source!r}: use one of {', '.join(SOURCES)}")
    if directory is not None:
        if Path(directory).resolve().is_relative_to(target.resolve()):
            raise ParagonError(
                f"{directory}: what lies in {target} is replaced by the result; bring the "
                "files from a folder elsewhere"
            )
        opened = _open_given(name, Path(directory))
        contents = _atomic_files(name, opened, _label_of_folder(name, words))
    else:
        if name not in REGISTRY:
            raise ParagonError(f"unknown dataset {name!r}: known are {_known_or_own(name)}")
        with suppress(ParagonError), locked(target):
            label, _ = _label_of(target, name, read_contents(Files(target), name))
            if label in (OFFICIAL, UNVERIFIED):  # already the best that there is
                return target
        with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
            opened = Files(download_dataset(REGISTRY[name], source, Path(scratch)))
            contents = _atomic_files(name, opened, UNVERIFIED)
    replace_folder(target, name, contents)
    return target


def _known_or_own(name: str) -> str:
    own = f"for your own files run `python -m paragon fetch {name} --from DIR`"
    return f"{', '.join(REGISTRY)}; {own}"


def _open_given(name: str, directory: Path) -> Files:
    """A zip archive of a known dataset, if it is there, or the folder itself."""
    if not directory.exists():
        raise ParagonError(f"{directory} does not exist; give the folder that holds the data")
    archive = directory if directory.is_file() else directory / f"{name}.zip"
    if archive.is_file() and name in FORMATS:
        return Files(archive)
    if directory.is_file():
        raise ParagonError(f"{directory} is a file; for {name!r} give the folder that holds it")
    return Files(directory, name)


def _atomic_files(name: str, opened: Files, label: str) -> dict[str, bytes]:
    """The checked atomic files by suffix, and where due their ``source.json``.

    The published form comes before atomic files, if both are there.  ``label`` is for files
    whose checksums do not show that they are official.
    """
    formats = FORMATS.get(name, {})
    form = next((names for names in formats if all(map(opened.find, names))), None)
    if form is not None:
        tables = formats[form](opened)
        dataset, changed = dataset_in_tables(name, tables), tables["item"].repairs
        published = opened.sums(form)
        contents = {s: atomic_bytes(dict(table.frame.items())) for s, table in tables.items()}
    elif opened.stems(".inter"):
        named = (n for n in (name, SAME_FILES.get(name, name)) if opened.find(f"{n}.inter"))
        stem = next(named, None) or only_dataset_in(opened)
        contents, changed = read_contents(opened, stem), {}
        dataset = dataset_in_files(name, opened.path / stem, contents)
        published = opened.sums(()) or sums_of(contents)
    else:
        forms = [", ".join(names) for names in formats]
        forms.append(f"{name}.inter and {name}.item (tab-separated, with typed headers)")
        raise ParagonError(f"{opened.path} does not hold {', nor '.join(forms)}")
    sums = sums_of(contents)
    if name in REGISTRY:
        label = _proven(name, label, published, sums)
    if name not in REGISTRY or sums == REGISTRY[name].files:
        return contents
    record = {
        "dataset": name,
        "source": _sized(name, label, dataset, opened.path),
        "raw_sha256": dict(sorted(published.items())),
        "files_sha256": dict(sorted(sums.items())),
    }
    record |= {"repairs": dict(changed)} if any(changed.values()) else {}
    return {**contents, "source.json": (json.dumps(record, indent=2) + "\n").encode()}


def _proven(name: str, label: str, published: Mapping[str, str], sums: Mapping[str, str]) -> str:
    """``label``, or that of official data if the sums of the ``published`` files show them.

    ``sums`` are those of the atomic files that were made of these.
    """
    entry = REGISTRY[name]
    known = [file.sha256 for file in (*entry.archives, entry.wheel) if file and file.sha256]
    if set(known).isdisjoint(published.values()):
        return label
    for suffix, expected in entry.files.items():
        if sums.get(suffix) != expected:
            raise ParagonError(
                f"{', '.join(published)}: {name}.{suffix} has the sha256 {sums.get(suffix)}, "
                f"expected {expected}; nothing was kept, please report this"
            )
    return OFFICIAL


def _sized(name: str, label: str, dataset: Dataset, path: Path) -> str:
    """``label`` of a copy that is complete; of another one with its size, or an error.

    What a person or a checksum says of the copy, the label has already; only then may it differ
    in size from what was published.
    """
    known = REGISTRY[name].size if name in REGISTRY else None
    events, items = dataset.interactions, dataset.items
    found = (len(events), events["user_id"].nunique(), len(items))
    if known is None or found == known or label == OFFICIAL:
        return label
    if label in (FOLDER, FOLDER_UNVERIFIED, UNVERIFIED):
        has, published = (
            f"{e:,} interactions, {u:,} users, {i:,} items" for e, u, i in (found, known)
        )
        raise ParagonError(
            f"{path}: this copy of {name} has {has}, the published data {published}: get all of "
            "it, or say with `--note` what kind of copy it is"
        )
    return f"{label}, {found[0]:,} of {known[0]:,} interactions"


def _label_of(folder: Path, name: str, contents: Mapping[str, bytes]) -> tuple[str, dict[str, int]]:
    """``source`` and earlier repairs of the files in ``folder``; an error if they changed since."""
    path, sums = folder / f"{name}.source.json", sums_of(contents)
    known = REGISTRY[name].files if name in REGISTRY else {}
    if sums == known:
        return OFFICIAL, {}
    changed: dict[str, int] = {}
    again = f"run `python -m paragon fetch {name}` again, with `--from DIR` for your own files"
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            label, recorded = str(record["source"]), dict(record["files_sha256"])
            changed = {str(what): int(count) for what, count in record.get("repairs", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ParagonError(f"{path} cannot be read as a source note; {again}") from None
        altered = "was altered since it was fetched (sha256 {}, recorded {})"
    else:
        label, recorded = _label_of_folder(name), known or sums
        altered = "was altered: its sha256 is {}, the official file's is {}"
        again += ", or give the altered data another name"
    for suffix in sorted(sums | recorded):
        if sums.get(suffix) != recorded.get(suffix):
            what = altered.format(sums.get(suffix), recorded.get(suffix))
            raise ParagonError(f"{folder / name}.{suffix} {what}; {again}")
    return label, changed


def _label_of_folder(name: str, words: str = "") -> str:
    """The label of files from a folder, whose owner may add words."""
    if name not in REGISTRY:
        return "own"
    entry = REGISTRY[name]
    published = entry.files or any(archive.sha256 for archive in entry.archives)
    label = FOLDER if published else FOLDER_UNVERIFIED
    return f"{label}: {words}" if words else label
