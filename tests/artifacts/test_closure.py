"""The files that a stage's code consists of: none missing, and every change of one seen."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from harness.artifacts import closure
from harness.artifacts.errors import InvalidInput
from tests.forked import forked

STAGES = ["weights", "extract", "compare", "knn", "sweep", "report"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose harness.a reaches the others by every way of importing."""
    sources = {
        "__init__": "",
        "a": "import harness.b\nfrom harness import c\nfrom harness.d import value\nimport json, harness_like, harnesses.x\n",
        "b": "def late():\n    from harness.sub.e import value\n    return value\n",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import harness.f\n",
        "d": "value = 1\n",
        "f": "from harness.artifacts.store import x\nimport harness.a\n",
        "g": "value = 1\n",
        "sub/__init__": "from . import h\n",
        "sub/e": "from ..g import value\n",
        "sub/h": "",
        "sub/i": "from .e import value\n",
        "artifacts/__init__": "",
        "artifacts/store": "x = 1\n",
    }
    for name, text in sources.items():
        path = tmp_path / "harness" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    return tmp_path


def test_a_module_and_the_one_it_imports() -> None:
    above = "harness/__init__.py"
    assert closure.files("harness.maths.cka") == [above, "harness/artifacts/errors.py", "harness/maths/cka.py"]
    assert closure.dependencies("harness.maths.cka") == ["harness/maths/cka.py"]
    assert closure.dependencies("harness.maths.cka") == ["harness/maths/cka.py"]


def test_every_way_of_importing_counts_and_cycles_end(project: Path) -> None:
    expected = ["a", "artifacts/store", "b", "c", "d", "f", "g", "sub/__init__", "sub/e"]
    assert closure.files("harness.a") == [f"harness/{name}.py" for name in expected]
    assert closure.files("harness.sub.i") == [f"harness/{name}.py" for name in ("g", "sub/__init__", "sub/e", "sub/i")]
    # What another module's search found out gives the same.
    known: closure.Imports = {}
    assert [closure.files(f"harness.{name}", known) for name in ("sub.i", "a", "sub.i")] == [
        closure.files(f"harness.{name}") for name in ("sub.i", "a", "sub.i")
    ]
    assert {"harness.a", "harness.sub.i"} <= set(known)
    # A package that was empty has its say as soon as it is not.
    (project / "harness/__init__.py").write_text("import harness.sub.h\n")
    (project / "harness/sub/h.py").write_text("value = 1\n")
    assert {"harness/__init__.py", "harness/sub/h.py"} <= set(closure.files("harness.d"))


def test_the_digest_changes_with_any_dependency_and_with_nothing_else(project: Path) -> None:
    before = closure.code_digest("harness.a")
    assert closure.code_digest("harness.a") == before
    for name in ("a", "b", "c", "d", "f", "g", "sub/__init__", "sub/e"):
        path = project / f"harness/{name}.py"
        text = path.read_text()
        path.write_text(f"{text}CHANGED = 1\n")
        assert closure.code_digest("harness.a") != before, name
        path.write_text(f"# In other words.\n{text}# \n")
        assert closure.code_digest("harness.a") == before, name
        path.write_text(text)
    (project / "harness/artifacts/store.py").write_text("x = 2\n")
    (project / "harness/sub/i.py").write_text("import harness.g\n")
    (project / "harness/unused.py").write_text("import harness.a\n")
    assert closure.code_digest("harness.a") == before


def test_the_digest_tells_which_file_has_which_bytes(project: Path) -> None:
    before = closure.code_digest("harness.a")
    d, g = project / "harness/d.py", project / "harness/g.py"
    g.write_text("value = 2\n")
    one = closure.code_digest("harness.a")
    g.write_text("value = 1\n")
    d.write_text("value = 2\n")
    assert len({before, one, closure.code_digest("harness.a")}) == 3


@pytest.mark.parametrize(
    "module", ["harness.stages.nothing", "harness.nothing.extract", "nothing", "harness/stages/extract", ""]
)
def test_a_module_that_does_not_exist_is_refused(module: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        closure.code_digest(module)
    assert caught.value.seen == module
    assert caught.value.exit_code == 12


@pytest.mark.parametrize(
    "text", ["import harness.gone", "from harness.gone import x", "from harness.sub.gone import x", "from harness import gone"]
)
def test_an_import_of_what_does_not_exist_names_the_importer(project: Path, text: str) -> None:
    (project / "harness/d.py").write_text(text)
    with pytest.raises(InvalidInput, match=r"harness/d\.py: imports\n  seen: harness\.(sub\.)?gone"):
        closure.files("harness.a")


def test_a_module_that_is_no_python_is_refused(project: Path) -> None:
    for text in ("def\n", "x = '\\0'\0"):
        (project / "harness/d.py").write_text(text)
        with pytest.raises(InvalidInput, match=r"harness/d\.py: source"):
            closure.files("harness.a")


@pytest.mark.parametrize("stage", STAGES)
def test_no_module_that_a_stage_loads_is_missing(stage: str, tmp_path: Path) -> None:
    """What Python itself imports, in a process that has imported nothing of the project."""
    module = f"harness.stages.{stage}"
    printed = tmp_path / "loaded"

    def work() -> int:
        for name in [name for name in sys.modules if name.split(".")[0] == "harness"]:
            del sys.modules[name]
        importlib.import_module(module)
        found = [str(m.__file__) for name, m in sys.modules.items() if name.split(".")[0] == "harness"]
        printed.write_text("\n".join(found))
        return 0

    assert forked(work) == 0
    loaded = {path for path in map(Path, printed.read_text().split()) if path.stat().st_size}
    assert loaded
    assert {str(path.relative_to(closure.ROOT)) for path in loaded} <= set(closure.files(module))
