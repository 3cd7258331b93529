"""Which files of the project a module's code consists of: what a stage depends on."""

from __future__ import annotations

import ast
import os
import re
from functools import lru_cache
from pathlib import Path

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest

ROOT = Path(__file__).parents[2]


# What each module imports, by its name.
Imports = dict[str, set[str]]


def files(module: str, known: Imports | None = None) -> list[str]:
    """Paths, relative to the project, of the module and of every module of `harness` that it imports, directly or not.

    Imports inside functions count, imports under TYPE_CHECKING too, and the packages above a module, which are imported
    before it: too many is safe, too few is not. Files without content are left out.
    known: what was found for other modules while no file changed; what is found here is added to it.
    Raises InvalidInput for a module that does not exist and for one that cannot be parsed.
    """
    known = {} if known is None else known
    found: dict[str, Path] = {}
    waiting = [(module, "the command")]
    while waiting:
        name, importer = waiting.pop()
        if name in found:
            continue
        path = _source(name)
        if path is None:
            raise InvalidInput(importer, field="imports", seen=name, expected=f"a module below {ROOT}")
        found[name] = path
        if name not in known:
            known[name] = _above(name) | _imports(name, path)
        waiting += [(imported, str(path)) for imported in known[name]]
    return sorted(str(path.relative_to(ROOT)) for path in found.values() if path.stat().st_size)


def _above(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def _imports(module: str, path: Path) -> set[str]:
    """Modules of harness that a module's source names, those in `from package import name` only where it is one."""
    try:
        statements = _named(path.read_bytes())
    except SyntaxError as error:
        raise InvalidInput(path, field="source", seen=error, expected="Python") from error
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names: set[str] = set()
    for node in statements:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if _of_harness(base):
                names |= {base, *(f"{base}.{alias.name}" for alias in node.names if _is_module(base, alias.name))}
    return {name for name in names if _of_harness(name)}


def _of_harness(module: str) -> bool:
    return module.split(".")[0] == "harness"


def dependencies(module: str, known: Imports | None = None) -> list[str]:
    """The files that decide what a stage's module computes: `files` without harness/artifacts, harness/params and the
    package's own file.

    The first is how artifacts are read and written; when what they mean changes, a schema's version does. The second is how
    params.yaml is read; a fingerprint has its resolved values. The third offers names to notebooks.
    """
    without = ("harness/artifacts/", "harness/params/", "harness/__init__.py")
    return [name for name in files(module, known) if not name.startswith(without)]


def fingerprint(*modules: str, known: Imports | None = None) -> dict[str, str]:
    """SHA-256 of what each of the modules' dependencies says, by its path: its syntax tree without comments, docstrings and
    annotations, so that another wording changes nothing.

    known: as `files` has it. Raises as it does.
    """
    found = {name for module in modules for name in dependencies(module, known)}
    return {name: digest(_code_only((ROOT / name).read_bytes())) for name in sorted(found)}


def code_digest(*modules: str) -> str:
    """SHA-256 over the fingerprint."""
    return digest(fingerprint(*modules))


@lru_cache(maxsize=256)
def _code_only(source: bytes) -> str:
    """What a source says without comments, docstrings and annotations."""
    # Written out again, since the trees themselves differ from one version of Python to the next.
    return ast.unparse(_CodeOnly().visit(ast.parse(source)))


class _CodeOnly(ast.NodeTransformer):
    """Takes docstrings and annotations out of a syntax tree, which has no comments."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                # A body is never empty.
                node.body[0] = ast.Pass()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        return node


def _is_module(package: str, name: str) -> bool:
    """Whether `from package import name` means a module, there or gone: what the package itself does not say is one."""
    if _source(f"{package}.{name}") is not None:
        return True
    path = _source(package)
    if path is None or path.name != "__init__.py":
        return False
    return re.search(rf"\b{re.escape(name)}\b", path.read_text()) is None


@lru_cache(maxsize=256)
def _named(source: bytes) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The import statements of a source, wherever they stand."""
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom))


def _source(module: str) -> Path | None:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    # As text: thousands of names are looked up, most of which are no modules.
    base = os.path.join(ROOT, *parts)
    found = next((path for path in (f"{base}.py", f"{base}/__init__.py") if os.path.isfile(path)), None)
    return None if found is None else Path(found)
