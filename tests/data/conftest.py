"""Small hand-made data in the published layouts; nothing of a real dataset."""

import zipfile
from pathlib import Path

import pytest

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\ttitle:token_seq\tgenre:token_seq\n"
USER = "user_id:token\tage:token\tgender:token\n"


@pytest.fixture
def own(tmp_path):
    """A function that writes atomic files (any part replaced) and returns their folder."""

    def write(inter=None, item=None, user=USER + "u1\t20\tF\nu2\t30\t\nu\t40\tM\n", name="mine"):
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        inter = INTER + "u1\ta\t4\t10\nu1\tb\t3.5\t20\nu2\ta\t1\t5\n" if inter is None else inter
        item = ITEM + "a\tAlpha\tX Y\nb\tBeta\tY\n" if item is None else item
        for suffix, text in (("inter", inter), ("item", item), ("user", user)):
            if text is not None:
                data = text if isinstance(text, bytes) else text.encode()
                (folder / f"{name}.{suffix}").write_bytes(data)
        return folder

    return write


@pytest.fixture
def ml1m(tmp_path):
    """A folder in ML-1M's layout, Latin-1."""
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::10::5::978300760\n1::20::3::978300760\n2::10::4::99\n")
    (folder / "movies.dat").write_bytes(
        "10::Café (Le Bar) (1995)::Drama|Sci-Fi\n20::No Year::Drama\n".encode("latin-1")
    )
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    return folder


@pytest.fixture
def zipped():
    """A function that zips a folder's files below one path."""

    def pack(folder: Path, target: Path, inside: str) -> Path:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.writestr(f"{inside}/{path.name}", path.read_bytes())
        return target

    return pack
