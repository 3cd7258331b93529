"""Which files of the project a module's code consists of: what a stage depends on."""

from __future__ import annotations

import ast
from pathlib import Path

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest

ROOT = Path(__file__).parents[2]


def files(module: str) -> list[str]:
    """Paths, relative to the project, of the module and of every module of `harness` that it imports, directly or not.

    Imports inside functions count, imports under TYPE_CHECKING too, and the packages above a module, which are imported
    before it: too many is safe, too few is not. Files without content are left out.
    Raises InvalidInput for a module that does not exist and for one that cannot be parsed.
    """
    found: set[Path] = set()
    waiting = [(module, "the command")]
    while waiting:
        name, importer = waiting.pop()
        path = _source(name)
        if path is None:
            raise InvalidInput(importer, field="imports", seen=name, expected=f"a module below {ROOT}")
        if path in found:
            continue
        found.add(path)
        waiting += [(imported, str(path)) for imported in _above(name) | _imports(name, path)]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.stat().st_size)


def _above(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def _imports(module: str, path: Path) -> set[str]:
    """Modules of harness that a module's source names, those in `from package import name` only where it is one."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InvalidInput(path, field="source", seen=error, expected="Python") from error
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names if _source(f"{base}.{alias.name}"))}
    return {name for name in names if name.split(".")[0] == "harness"}


def dependencies(module: str) -> list[str]:
    """The files that decide what a stage's module computes: `files` without harness/artifacts.

    That folder is how artifacts are read and written; when what they mean changes, a schema's version does.
    """
    return [name for name in files(module) if not name.startswith("harness/artifacts/")]


def code_digest(module: str) -> str:
    """SHA-256 over the dependencies' bytes."""
    return digest({name: digest((ROOT / name).read_bytes()) for name in dependencies(module)})


def _source(module: str) -> Path | None:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    base = ROOT.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None
