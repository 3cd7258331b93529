from __future__ import annotations

import pickle

import pytest

from harness.artifacts.errors import BadEnvironment, HarnessError, InvalidInput, MissingArtifact


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("params.yaml", field="batch", seen=3, expected="at most 2", next_step="lower it"),
        MissingArtifact("artifacts/a.json", "the curve of a", next_step="dvc repro"),
        BadEnvironment("weights", seen="out of memory", expected="more memory"),
    ],
)
def test_an_error_leaves_a_worker_process_as_it_was(error: HarnessError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
    assert back.exit_code == error.exit_code
