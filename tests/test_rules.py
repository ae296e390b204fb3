"""Rules of the house: what may import what, where, and how long things may be."""

import ast
from pathlib import Path

import nbformat
import pytest

from paragon.params import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The layers of the package, each of which may import what stands before it.
LAYERS = (
    *(
        "errors",
        "progress",
        "storage",
        "params",
        "metrics",
        "data",
        "objectives",
        "backbones",
    ),
    *("adapters", "generator", "rivals", "evaluation", "serving"),
)


def imports_of(tree):
    """The parts of the package that a piece of code imports, ``adapters.tuning`` for one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            assert not any(name.partition(".")[0].startswith("paragon") for name in names), names
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}"
            if node.module.partition(".")[0] == "paragon_study":
                yield node.module
            elif node.module.partition(".")[0] == "paragon":
                own = [a.name for a in node.names if a.name != "__version__"]
                yield from [node.module.removeprefix("paragon.")] if "." in node.module else own


def layer_of(name):
    """Where a part of the package stands; what is above all layers is None."""
    part = name.partition(".")[0]
    return LAYERS.index(part) if part in LAYERS else None


def test_imports_lead_downward():
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "paragon").with_suffix("").parts)
        own = layer_of(name)
        if own is None:
            continue
        for found in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
            other = layer_of(found)
            assert other is not None and other <= own, f"{name} imports {found}"


def test_nothing_below_the_report_imports_matplotlib():
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        if "report" not in path.parts:
            assert "matplotlib" not in path.read_text(encoding="utf-8"), path


def test_nothing_that_is_read_can_run_code():
    forbidden = {"eval", "exec", "os.system", "yaml.unsafe_load", "yaml.full_load"}
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called, options = ast.unparse(node.func), {k.arg for k in node.keywords}
                assert called not in forbidden and not called.endswith("read_pickle"), path
                assert not options & {"shell", "allow_pickle"}, path
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "torch.load", path
            if isinstance(node, ast.ImportFrom) and node.module == "torch":
                assert "load" not in {alias.name for alias in node.names}, path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "marshal", "shelve"}, path


def test_no_public_name_is_defined_twice():
    places = {}
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        if path.name == "__main__.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: own for name, own in places.items() if len(own) > 1} == {}


def closure(layer):
    """A layer and all that it imports, directly or not."""
    waiting, seen = [layer], set()
    while waiting:
        own = waiting.pop()
        if own in seen:
            continue
        seen.add(own)
        folder = ROOT / "paragon" / own
        for path in [*folder.rglob("*.py"), *filter(Path.exists, [folder.with_suffix(".py")])]:
            for found in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
                waiting.append(found.partition(".")[0])
    return seen


def test_modules_and_functions_are_short():
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_few_names_from_few_folders(path):
    """Eight names from three folders, beside `study`, which every notebook opens."""
    names, folders = [], set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("paragon."):
                    names += [alias.name for alias in node.names]
                    folders.add(node.module.split(".")[1])
    folders = {name for name in folders if (ROOT / "paragon" / name).is_dir()}
    assert len(names) <= 8 and len(folders - {"study"}) <= 3


def test_the_first_listing_is_short():
    """Of the package, the pipeline and the README."""
    parts = [p for p in (ROOT / "paragon").iterdir() if p.name != "__pycache__"]
    assert sum(p.is_dir() for p in parts) <= 12 and sum(p.is_file() for p in parts) <= 8
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 170
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1000
