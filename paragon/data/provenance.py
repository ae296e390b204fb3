"""How far a folder of data is known to be the official one.

Where the canonical files' checksums are known (ML-100K), the files themselves
say it, and nothing else is stored: the pinned folder has the same bytes
whichever source served it.  Everywhere else ``NAME.source.json`` lies beside
the files; it holds checksums and no paths or dates, so it too is the same for
the same source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from paragon.data.registry import REGISTRY
from paragon.errors import ParagonError

OFFICIAL = "official (checksums match)"
UNVERIFIED = "official address, unverified (no checksum is published)"
FOLDER = "folder (not the official file)"
FOLDER_UNVERIFIED = "folder, unverified (no checksum is published)"
OWN = "own"


def sums_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """sha256 of each file's content, by suffix."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in contents.items()}


def is_canonical(name: str, contents: Mapping[str, bytes]) -> bool:
    """Whether these are the known canonical files of the dataset."""
    return name in REGISTRY and bool(REGISTRY[name].files) and (
        sums_of(contents) == REGISTRY[name].files
    )  # fmt: skip


def note(name: str, source: str, raw: Mapping[str, str], contents: Mapping[str, bytes]) -> bytes:
    """The content of ``NAME.source.json``: the label, and sums before and after conversion."""
    record = {
        "dataset": name,
        "source": source,
        "raw_sha256": dict(sorted(raw.items())),
        "files_sha256": dict(sorted(sums_of(contents).items())),
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def label(folder: Path, name: str, contents: Mapping[str, bytes]) -> str:
    """The ``source`` of the files in ``folder``; an error if they changed since fetched."""
    if is_canonical(name, contents):
        return OFFICIAL
    path = folder / f"{name}.source.json"
    again = f"run `python -m paragon fetch {name}` again, with `--from DIR` for your own files"
    if not path.exists():
        if name not in REGISTRY:
            return OWN
        known = REGISTRY[name].files
        if known:
            found = sums_of(contents)
            wrong = next(suffix for suffix in known if found.get(suffix) != known[suffix])
            raise ParagonError(
                f"{folder / name}.{wrong} was altered: its sha256 is {found.get(wrong)}, the "
                f"official file's is {known[wrong]}; {again}, or give the altered data another name"
            )
        return FOLDER_UNVERIFIED if _unpublished(name) else FOLDER
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        source, recorded = str(record["source"]), dict(record["files_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ParagonError(f"{path} cannot be read as a source note; {again}") from None
    found = sums_of(contents)
    for suffix in sorted(found | recorded):
        if found.get(suffix) != recorded.get(suffix):
            raise ParagonError(
                f"{folder / name}.{suffix} was altered since it was fetched (sha256 "
                f"{found.get(suffix)}, recorded {recorded.get(suffix)}); {again}"
            )
    return source


def source_of(name: str, official: bool, verified: bool, words: str = "") -> str:
    """The label of data from an official address or from a folder, whose owner may add words."""
    if name not in REGISTRY:
        return OWN
    if verified:
        return OFFICIAL
    if official:
        return UNVERIFIED
    source = FOLDER_UNVERIFIED if _unpublished(name) else FOLDER
    return f"{source}: {words}" if words else source


def _unpublished(name: str) -> bool:
    entry = REGISTRY[name]
    return not entry.files and not any(archive.sha256 for archive in entry.archives)
