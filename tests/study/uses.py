"""Which files of the two packages a piece of code uses."""

import ast
from pathlib import Path

from paragon.params import ROOT

PIPELINE = ROOT / "paragon_study" / "pipeline"
# `from paragon import ...` loads only what is named, and these only refuse, or judge an answer.
LEFT = {
    *("paragon/__init__.py", "paragon_study/__init__.py", "paragon_study/course/__init__.py"),
    *("paragon_study/course/exercise.py", "paragon_study/course/answers.py"),
    *("paragon_study/pipeline/settings.py", "paragon.objectives.table.check_objectives"),
}


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


def imports_in(tree):
    """``{name: module}`` of all imports from the two packages, those inside functions as well."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("paragon")
        for alias in node.names
    }


def definitions(path):
    """``(name, tree)`` of the functions of a module and of the methods of its classes."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            yield from ((f".{part.name}", part) for part in methods)
            yield node.name, ast.Module([p for p in node.body if p not in methods], [])
        elif isinstance(node, ast.FunctionDef):
            yield node.name, node


class Uses:
    """The ``files`` that pieces of code use: what they import, directly or not.

    Of a module of the pipeline, which has something for every stage, only the definitions that
    are named in the code, and what these use.
    """

    def __init__(self, *trees, without=()):
        self.files, self.words, self.without = set(), set(), LEFT | set(without)
        for tree in trees:
            self.follow(tree, {})
        done = -1
        while done != (done := len(self.words) + len(self.files)):
            for path in [p for p in self.files if p.parent == PIPELINE]:
                table = imports_in(ast.parse(path.read_text(encoding="utf-8")))
                for name, tree in definitions(path):
                    if name in self.words:
                        self.follow(tree, table)

    def follow(self, tree, table):
        nodes = [*ast.walk(tree)]
        names = {n.id for n in nodes if isinstance(n, ast.Name)}
        self.words |= names | {f".{n.attr}" for n in nodes if isinstance(n, ast.Attribute)}
        self.words |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}  # of a module
        named = {table[name] for name in names & set(table)} | set(imports_in(tree).values())
        for module in named - self.without:
            self.words.add(module.rpartition(".")[2])
            while "." in module:
                self.enter(file_of(module))
                module = module.rpartition(".")[0]

    def enter(self, path):
        name = path and path.relative_to(ROOT).as_posix()
        if path is None or path in self.files or any(name.startswith(w) for w in self.without):
            return
        self.files.add(path)
        if path.parent != PIPELINE:
            self.follow(ast.parse(path.read_text(encoding="utf-8")), {})
