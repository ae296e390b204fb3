"""Published layouts to atomic files."""

import gzip

import pytest

from paragon.data.fetch import fetch, load_dataset
from tests.data.conftest import LAYOUTS, written

pytestmark = pytest.mark.usefixtures("small_copies")
_GENRES = ("Action Comedy", "unknown", "Animation Children's", "Western", "Action")
# Per layout: timestamps, titles and categories in their order, groups, repairs.
EXPECTED = {
    "ml-100k": (
        [881250949, 881250939, 881250938],
        ["A Film, The (Un film)", "unkonwn", "Part III (1995)", "Brontë", "Alphaville"],
        [(*pair.split(),) for pair in _GENRES],
        ["M", "F"],
        {},
    ),
    "ml-1m": (
        [978300760, 978300760, 978300099],
        ["Café (Le Bar)", "No Year"],
        [("Drama", "Sci-Fi"), ("Drama",)],
        ["F", "M"],
        {},
    ),
    "ml-latest-small": (
        [978300009, 978300008],
        ["Usual, The", "Odd"],
        [("Crime", "Drama"), ()],
        [],
        {"items without categories": 1},
    ),
}


def converted(tmp_path, layout, changes=None):
    """The dataset that is made of a layout, some of its files with another text."""
    given = written(tmp_path / "given", layout, changes)
    fetch(layout, directory=given, data=tmp_path / "data")
    return load_dataset(layout, tmp_path / "data")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    dataset = converted(tmp_path, layout)
    times, titles, categories, groups, repairs = EXPECTED[layout]
    assert dataset.interactions["timestamp"].tolist() == times
    assert dataset.items["title"].tolist() == titles
    assert dataset.items["categories"].tolist() == categories
    assert dataset.users["group"].tolist() == groups
    assert dataset.repairs == repairs and dataset.source.startswith("folder")


def test_copies_in_utf8_and_gzip_read_the_same(tmp_path):
    text = LAYOUTS["ml-1m"]["movies.dat"].encode("utf-8")
    prints = {
        converted(tmp_path, "ml-1m", other).fingerprint for other in ({}, {"movies.dat": text})
    }
    for path in [*(tmp_path / "given").iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    fetch("ml-1m", directory=tmp_path / "given", data=tmp_path / "data")
    assert prints == {load_dataset("ml-1m", tmp_path / "data").fingerprint}
