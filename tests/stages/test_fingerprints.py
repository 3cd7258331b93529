"""What makes a stage's result stale: any other code or parameter that decides it, and no other wording."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.artifacts import closure
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.params.load import load_params
from harness.params.params import Params
from harness.stages import check
from harness.stages.place import Place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code and the parameters, in which to change a line."""
    shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def parsed(_: str) -> Params:
    return load_params(Path("params.yaml"))


def fingerprints() -> dict[str, str]:
    """Every fingerprint of the embedded profile, made anew, by its name."""
    place = Place(parsed(Path("params.yaml").read_text()), "embedded")
    check.run(place)
    folder = place.path("fingerprints", ending="")
    return {str(path.relative_to(folder).with_suffix("")): path.read_text() for path in sorted(folder.rglob("*.json"))}


def changed(before: dict[str, str]) -> set[str]:
    after = fingerprints()
    assert set(after) >= set(before)
    return {name for name in before if before[name] != after[name]}


def test_a_changed_constant_makes_all_stages_stale_that_use_it_and_other_words_none(project: Path) -> None:
    before = fingerprints()
    used = {name: set(json.loads(text)["code"]) for name, text in before.items()}
    assert sorted(used["weights/dino"] - used["weights/random"]) == [
        "harness/training/augment.py",
        "harness/training/dino.py",
    ]
    files = sorted(set.union(*used.values()))
    for file in files:
        path = project / file
        path.write_text(f"# A comment.\n{path.read_text()}\n# Another.\n")
    assert changed(before) == set()
    for file in files:
        path = project / file
        source = path.read_text()
        path.write_text(f"{source}\nCHANGED = 1\n")
        assert changed(before) == {name for name, code in used.items() if file in code}, file
        path.write_text(source)


def test_docstrings_and_annotations_are_other_words(project: Path) -> None:
    path = project / "harness/maths/cka.py"
    method = '    def f(self, y: int) -> int:\n        """One."""\n        return y\n'
    path.write_text(f'"""One."""\n\n\nclass A:\n    """One."""\n\n    x: int = 1\n\n{method}')
    before = fingerprints()
    for old, new in (("One.", "Another."), ("y: int", "y: float"), ("-> int", "-> float"), ("x: int", "x: float")):
        path.write_text(path.read_text().replace(old, new))
        assert changed(before) == set(), new
    for old, new in (("= 1", "= 2"), ("return y", "return -y"), ("y: float", "z: float")):
        source = path.read_text()
        path.write_text(source.replace(old, new))
        assert "compare" in changed(before), new
        path.write_text(source)


def test_a_file_that_joins_the_code_is_noticed(project: Path) -> None:
    before = fingerprints()
    (project / "harness/maths/further.py").write_text("VALUE = 1\n")
    assert changed(before) == set()
    path = project / "harness/stages/knn.py"
    path.write_text(f"{path.read_text()}\nfrom harness.maths import further\n")
    assert changed(before) == {"knn", "pixels"}
    before = fingerprints()
    (project / "harness/maths/further.py").write_text("VALUE = 2\n")
    assert changed(before) == {"knn", "pixels"}


@pytest.mark.parametrize(
    ("path", "value", "stale"),
    [
        (("knn", "k"), 10, {"knn", "pixels", "sample"}),
        (("extract", "images"), 512, {"compare", "extract", "invariance", "line", "pixels", "probe", "sample"}),
        (("extract", "batch"), 128, {"compare", "extract", "invariance", "line", "pixels", "probe", "sweep"}),
        (("similarity", "subsets"), 8, {"compare", "drift"}),
        (("probe", "batch"), 128, {"probe"}),
        (("finetune", "epochs"), 10, {"finetune"}),
        (("sweep", "seed"), 1, {"sweep"}),
        (("generation", "steps"), 9, {"generate"}),
        (("sampling", "samples"), 9, {"sample"}),
        (("detection", "rate"), 1.0e-3, {"detect", "detect_end_to_end"}),
        (
            ("detection", "end_to_end"),
            {"rate": 1.0e-3, "layer_decay": 0.8, "drop_path": 0.0, "weight_decay": 0.1},
            {"detect_end_to_end"},
        ),
    ],
)
def test_a_parameter_makes_those_stages_stale_that_read_it(
    project: Path, path: tuple[str, str], value: Any, stale: set[str]
) -> None:
    before = fingerprints()
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["profiles"]["embedded"][path[0]][path[1]] = value
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert changed(before) == stale


def test_a_recipe_makes_its_own_model_stale(project: Path) -> None:
    before = fingerprints()
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["models"]["vicreg"]["weights"]["embedded"]["epochs"] = 3
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert changed(before) == {"weights/vicreg"}


def test_code_that_does_not_parse_is_refused(project: Path) -> None:
    (project / "harness/maths/cka.py").write_text("def\n")
    with pytest.raises(InvalidInput, match=r"harness/maths/cka\.py: source"):
        fingerprints()
    (project / "harness/maths/cka.py").unlink()
    with pytest.raises(InvalidInput, match=r"seen: harness\.maths\.cka"):
        fingerprints()
