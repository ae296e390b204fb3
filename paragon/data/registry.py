"""Store address, checksums, licence and citation of each public dataset.

A checksum was published by the source, or computed from a file whose checksum was published.
Data without one are labelled unverified.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Download:
    """One file to download, and its ``sha256`` in hex if known."""

    url: str
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """A dataset that ``fetch`` knows by name; without ``archives``, the user must ``bring`` it.

    ``files``: sha256 of each atomic file.  ``size``: interactions, users with some, and items.
    """

    name: str
    title: str
    licence: str
    citation: str
    archives: tuple[Download, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    wheel: Download | None = None
    bring: str = ""
    size: tuple[int, int, int] | None = None


_MOVIELENS_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
    "Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)
_MOVIELENS_LICENCE = (
    "GroupLens: for research; acknowledge the use in publications; no redistribution and no "
    "commercial use without permission; no endorsement by the University of Minnesota implied."
)
_AMAZON = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"


def _movielens(
    name: str, title: str, size: tuple[int, int, int], sha256: str, **other: Any
) -> Entry:
    url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
    other = {"licence": _MOVIELENS_LICENCE, "citation": _MOVIELENS_CITATION} | other
    return Entry(name, title, archives=(Download(url, sha256),), size=size, **other)


_ENTRIES = (
    _movielens(
        "ml-100k",
        "MovieLens 100K: 100,000 ratings, 943 users, 1,682 movies, 19 genres",
        (100_000, 943, 1_682),
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        files={
            "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        },
        # RecBole's wheel holds it as example data.
        wheel=Download(
            "recbole-1.2.1-py3-none-any.whl",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        ),
    ),
    _movielens(
        "ml-1m",
        "MovieLens 1M: 1,000,209 ratings, 6,040 users, 3,883 movies, 18 genres",
        (1_000_209, 6_040, 3_883),
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    _movielens(
        "ml-latest-small",
        "MovieLens latest small (2018): 100,836 ratings, 610 users, 9,742 movies",
        (100_836, 610, 9_742),
        "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        licence=(
            "GroupLens: free use with acknowledgement, redistribution only under the same terms; "
            "no commercial use without permission; no endorsement implied."
        ),
    ),
    Entry(
        name="amazon-grocery",
        title="Amazon Grocery and Gourmet Food, 5-core (2014): 151,254 reviews, 14,681 users",
        licence=(
            "No licence is stated; published for research with the request to cite. "
            "No checksum is published either: what is fetched is recorded as unverified."
        ),
        citation=(
            "Ruining He and Julian McAuley. 2016. Ups and Downs: Modeling the Visual Evolution "
            "of Fashion Trends with One-Class Collaborative Filtering. WWW 2016. "
            "https://doi.org/10.1145/2872427.2883037"
        ),
        archives=(
            Download(f"{_AMAZON}/reviews_Grocery_and_Gourmet_Food_5.json.gz", None),
            Download(f"{_AMAZON}/meta_Grocery_and_Gourmet_Food.json.gz", None),
        ),
        size=(151_254, 14_681, 8_713),
    ),
    Entry(
        name="mind",
        title="MIND, Microsoft News: clicks on news with category and subcategory",
        licence="Microsoft Research License Terms: research only; accept them before downloading.",
        citation=(
            "Fangzhao Wu et al. 2020. MIND: A Large-scale Dataset for News Recommendation. "
            "ACL 2020, 3597-3606. https://doi.org/10.18653/v1/2020.acl-main.331"
        ),
        bring=(
            "MIND asks you to accept its terms first: get it from https://msnews.github.io, unpack "
            "it, then run `python -m paragon fetch mind --from DIR` on the folder with "
            "behaviors.tsv and news.tsv"
        ),
    ),
)

REGISTRY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}

# Second names for the same files, with other `overrides` in params.yaml: ml-1m-time is split by
# time, as in the published study; ml-100k-paper has more seeds and rivals.
SAME_FILES = {"ml-1m-time": "ml-1m", "ml-100k-paper": "ml-100k"}
REGISTRY |= {name: replace(REGISTRY[of], name=name) for name, of in SAME_FILES.items()}


def notice(name: str) -> str:
    """Return title, licence and citation to print after fetching; empty for own data."""
    if name not in REGISTRY:
        return ""
    entry = REGISTRY[name]
    return f"{entry.title}\nLicence:  {entry.licence}\nPlease cite: {entry.citation}"
