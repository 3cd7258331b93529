"""The page of the project's own profile, made once for all that look at it."""

from __future__ import annotations

import pytest

from harness.artifacts.closure import ROOT
from harness.page.page import page
from harness.params.load import load_params
from harness.stages.place import Place


@pytest.fixture(scope="session")
def place() -> Place:
    return Place(load_params(ROOT / "params.yaml"), "embedded")


@pytest.fixture(scope="session")
def html(place: Place) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return page(place, ["artifacts/verdicts.json"])


@pytest.fixture
def in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
