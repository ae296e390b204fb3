import pytest

from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.params import DATA, ROOT, load_params
from paragon_study.demo.page import Rankings, build_page, load_bundle
from tests.demo.browser import Browser

STEM = ROOT / "docs" / "demo" / "ml-100k-sasrec"


@pytest.fixture(scope="session")
def sequences():
    if not (DATA / "ml-100k" / "ml-100k.inter").exists():
        pytest.skip("data/ml-100k is missing: run `python -m paragon fetch ml-100k`")
    rules = load_params(dataset="ml-100k").data
    return prepare(load_dataset("ml-100k", DATA), **rules.model_dump())


@pytest.fixture(scope="session")
def bundle(sequences):
    """The committed one."""
    return load_bundle(STEM, sequences)


@pytest.fixture(scope="session")
def lists(bundle, sequences):
    """The lists of the package."""
    return Rankings(bundle, sequences)


@pytest.fixture(scope="session")
def address(bundle, sequences, tmp_path_factory):
    """The built page, as a file."""
    path = tmp_path_factory.mktemp("demo") / "demo.html"
    path.write_text(build_page(bundle, sequences), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    """The page, newly opened in a window of a desk."""
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.send("Emulation.setDeviceMetricsOverride", **size)
    browser.events.clear()
    browser.send("Page.navigate", url="about:blank")
    browser.open(address.as_uri(), "window.paragon")
    return browser
