"""Rules of the house: what may import what, and what may not be called."""

import ast

from paragon.params import ROOT

MODULES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for name in ("paragon", "paragon_study")
    for path in sorted((ROOT / name).rglob("*.py"))
}
METHOD = {path: tree for path, tree in MODULES.items() if path.is_relative_to(ROOT / "paragon")}
# The layers of `paragon`, each of which may import what stands before it.
LAYERS = (
    *("errors", "progress", "storage", "params", "metrics", "data", "objectives", "backbones"),
    *("adapters", "generator", "reranking", "rivals", "evaluation", "serving"),
)


def imports_of(tree):
    """The modules of both packages that a piece of code imports, as absolute names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("paragon") for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}"
            if node.module == "paragon":
                names = (alias.name for alias in node.names)
                yield from (f"paragon.{name}" for name in names if name != "__version__")
            elif node.module.partition(".")[0] in ("paragon", "paragon_study"):
                yield node.module


def test_imports_lead_downward_and_never_to_the_study():
    for path, tree in METHOD.items():
        part = path.relative_to(ROOT / "paragon").with_suffix("").parts[0]
        if part not in LAYERS:  # __init__ and __main__, which is the study's command line
            continue
        for module in imports_of(tree):
            package, _, rest = module.partition(".")
            other = rest.partition(".")[0]
            assert package == "paragon" and other in LAYERS, f"{path} imports {module}"
            assert LAYERS.index(other) <= LAYERS.index(part), f"{path} imports {module}"
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "matplotlib" not in path.read_text(encoding="utf-8") and "Study" not in names, path


def test_nothing_that_is_read_can_run_code():
    forbidden = {"eval", "exec", "os.system", "yaml.unsafe_load", "yaml.full_load"}
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
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
    for path, tree in MODULES.items():
        if "commands" in path.name or path.name == "command_line.py":
            continue  # a command has the name of what it calls
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
