"""What the pipeline runs over, and which modules a stage depends on.

The ``deps`` of dvc.yaml are worked out from imports.

DVC re-runs a stage when a file in its ``deps`` changes, so they should name
every module that the notebook imports, directly or through others, and no
more.  ``python -m paragon deps`` compares, ``--write`` corrects the file.  A stage
without a notebook runs a command, and the module of that name does its work.

What only runs the pipeline (this module, the runner, the command line) is
imported by no notebook, so that a better error message retrains nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

import nbformat
import yaml
from ruamel.yaml import YAML

from paragon.backbones import BACKBONES
from paragon.errors import ParagonError
from paragon.files import write_text
from paragon.params import ROOT, load_params

PACKAGE = "paragon"
# Imported by notebooks, yet without effect on what they compute: nobody's dependency.
# params: hands values on unchanged, without defaults; DVC tracks the values themselves.
# errors, progress: texts and bars.
WITHOUT_EFFECT = frozenset({"paragon.errors", "paragon.params", "paragon.progress"})
_RUNS = re.compile(rf"-m {PACKAGE} run (\S+)")
_COMMAND = re.compile(rf"-m {PACKAGE} (?!run\b)(\w+)")
_LISTED = re.compile(rf"^\s+- ({PACKAGE}/\S+\.py)\s*$")


def add(name: str, root: Path = ROOT) -> str:
    """Enter a dataset or a backbone in params.yaml; returns what was done, in words.

    Comments and layout of the file stay.  Raises ``ParagonError`` if ``name`` is
    neither a backbone nor a folder of ``data/``, or both, and for a file that is not valid.
    """
    path = root / "params.yaml"
    load_params(path)
    fetched = (root / "data" / name).is_dir()
    if name in BACKBONES:
        if fetched:
            raise ParagonError(
                f"{name!r} is a backbone and there is a dataset data/{name}: which is meant cannot "
                "be told; fetch the dataset under another name and remove that folder"
            )
        kind = "backbones"
    elif fetched:
        kind = "datasets"
    else:
        raise ParagonError(
            f"{name!r} is no backbone ({', '.join(BACKBONES)}) and there is no data/{name}: "
            f"fetch a dataset first, with `python -m paragon fetch {name}`, or with `--from DIR`"
        )
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    content = yaml.load(path.read_text(encoding="utf-8"))
    if name in content[kind]:
        return f"params.yaml: {kind} has {name} already"
    content[kind].append(name)
    content.setdefault("special", {}).setdefault(name, {})
    text = StringIO()
    yaml.dump(content, text)
    write_text(path, text.getvalue())
    return f"params.yaml: {name} added to {kind}"


def studies_of(name: str, root: Path = ROOT) -> list[str]:
    """The stages ``evaluate@...`` of all studies in params.yaml with a dataset or backbone."""
    params = load_params(root / "params.yaml")
    found = [
        f"evaluate@{dataset}-{backbone}"
        for dataset in params.datasets
        for backbone in params.backbones
        if name in (dataset, backbone)
    ]
    if not found:
        raise ParagonError(f"params.yaml: no study has {name!r}: `python -m paragon add {name}`")
    return found


def stage_notebooks(root: Path = ROOT) -> dict[str, str]:
    """``{stage: notebook}`` of the stages in dvc.yaml that run one."""
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    found = {stage: _RUNS.search(about["cmd"]) for stage, about in content["stages"].items()}
    return {stage: match[1] for stage, match in found.items() if match}


def stage_sources(root: Path = ROOT) -> dict[str, str]:
    """``{stage: file}``: the notebook, or the module behind a command, relative to root."""
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    notebooks = stage_notebooks(root)
    found = {}
    for stage, about in content["stages"].items():
        command = _COMMAND.search(about["cmd"])
        if stage in notebooks:
            found[stage] = f"notebooks/{notebooks[stage]}.ipynb"
        elif command:
            found[stage] = f"{PACKAGE}/{command[1]}.py"
    return found


def listed_modules(root: Path = ROOT) -> dict[str, list[str]]:
    """``{stage: files of the package}`` as dvc.yaml lists them."""
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    return {
        stage: [dep for dep in content["stages"][stage]["deps"] if dep.startswith(f"{PACKAGE}/")]
        for stage in stage_sources(root)
    }


def imported_modules(source: Path, root: Path = ROOT) -> list[str]:
    """Files of the package that a notebook, or a module of it, needs: sorted, relative to root.

    Imported directly or not; a module needs itself.
    """
    if not source.is_file():
        raise ParagonError(f"{source} is missing: a stage of dvc.yaml runs it")
    if source.suffix == ".py":
        trees = iter([ast.parse(f"import {PACKAGE}.{source.stem}")])
    else:
        trees = _notebook_trees(source)
    waiting = list(_modules(trees, root, PACKAGE))
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen or module in WITHOUT_EFFECT:
            continue
        seen.add(module)
        path = _file(module, root)
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        waiting += _modules([tree], root, inside)
    return sorted(_file(module, root).relative_to(root).as_posix() for module in seen)


def differences(root: Path = ROOT) -> dict[str, tuple[list[str], list[str]]]:
    """``{stage: (missing, surplus)}`` for stages whose deps are not what is imported."""
    listed, out = listed_modules(root), {}
    for stage, source in stage_sources(root).items():
        needed = imported_modules(root / source, root)
        missing = [path for path in needed if path not in listed[stage]]
        surplus = [path for path in listed[stage] if path not in needed]
        if missing or surplus:
            out[stage] = (missing, surplus)
    return out


def rewritten(root: Path = ROOT) -> str:
    """The text of dvc.yaml with each stage's list of modules put right, all else untouched."""
    sources, lines, stage = stage_sources(root), [], None
    for line in (root / "dvc.yaml").read_text(encoding="utf-8").splitlines():
        heading = re.fullmatch(r"  (\w[\w-]*):\s*", line)
        stage = heading[1] if heading else stage
        if stage not in sources or not _LISTED.match(line):
            lines.append(line)
        if stage in sources and line.strip() == f"- {sources[stage]}":
            modules = imported_modules(root / sources[stage], root)
            lines += [f"    - {module}" for module in modules]
    return "\n".join(lines) + "\n"


def _notebook_trees(path: Path) -> Iterator[ast.Module]:
    """Syntax trees of the code cells, without IPython's ``%`` and ``!`` lines."""
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        lines = [line for line in cell.source.splitlines() if not re.match(r"\s*[%!]", line)]
        try:
            yield ast.parse("\n".join(lines))
        except SyntaxError as error:
            raise ParagonError(f"{path}: cell {number} is not valid Python: {error}") from error


def _modules(trees: Iterable[ast.AST], root: Path, inside: str) -> Iterator[str]:
    """Modules of the package that the trees import, each with the packages around it.

    Imports inside functions count; those for type checkers only do not.
    """
    for tree in trees:
        for node in _runtime_nodes(tree):
            for name in _imported_names(node, inside):
                parts = name.split(".")
                for length in range(1, len(parts) + 1):
                    module = ".".join(parts[:length])
                    if parts[0] == PACKAGE and _file(module, root) is not None:
                        yield module


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    yield tree
    for child in ast.iter_child_nodes(tree):
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not guarded:
            yield from _runtime_nodes(child)


def _imported_names(node: ast.AST, inside: str) -> list[str]:
    """Dotted names that may be modules: ``from a import b`` could mean ``a.b``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        above = inside.split(".")[: len(inside.split(".")) - node.level + 1]
        base = ".".join([*above, *filter(None, [base])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_name(path.name + ".py"))
    return next((found for found in candidates if found.is_file()), None)
