"""Which files of the project a module's code consists of: what a stage depends on."""

from __future__ import annotations

import ast
from pathlib import Path

from harness.artifacts.provenance import digest

ROOT = Path(__file__).parents[2]


def files(module: str) -> list[str]:
    """Paths, relative to the project, of the module and of every module of `harness` that it imports, directly or not.

    Imports inside functions count, imports under TYPE_CHECKING too: too many is safe, too few is not.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = _source(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("harness"):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names if alias.name.startswith("harness")]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.stat().st_size)


def dependencies(module: str) -> list[str]:
    """The files that decide what a stage's module computes: `files` without harness/artifacts.

    That folder is how artifacts are read and written; when what they mean changes, a schema's version does.
    """
    return [name for name in files(module) if not name.startswith("harness/artifacts/")]


def code_digest(module: str) -> str:
    """SHA-256 over the dependencies' bytes."""
    return digest({name: digest((ROOT / name).read_bytes()) for name in dependencies(module)})


def _source(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None
