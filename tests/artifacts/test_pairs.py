"""Comparisons of a model with several references in one artifact: each is read as if it stood alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.provenance import Provenance
from harness.artifacts.schema import Column, Schema, of_references

MADE = Provenance(profile="test", stage="test", parameters="p", code="c")
PAIR = Schema(
    "pair",
    1,
    {
        "cross": Column("float32", ("a", "b"), "none"),
        "self_a": Column("float32", ("a",), "none"),
        "self_b": Column("float32", ("b",), "none"),
    },
)


def pair(seed: int, self_a: NDArray[Any]) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    columns = {"cross": rng.random((len(self_a), 3)), "self_b": rng.random(3)}
    return {name: column.astype(np.float32) for name, column in columns.items()} | {"self_a": self_a}


OWN = np.arange(4, dtype=np.float32)
PAIRS = {"one": pair(1, OWN), "two": pair(2, OWN.copy()), "three": pair(3, OWN + 1), "four": pair(4, OWN[:2])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store.write_pairs(tmp_path / "a.safetensors", PAIR, PAIRS, MADE)
    return tmp_path / "a.safetensors"


def test_every_comparison_is_read_as_it_was_written(path: Path) -> None:
    found = store.read_pairs(path, PAIR)
    assert found.references == ("one", "two", "three", "four")
    for reference, written in PAIRS.items():
        read = found.of(reference)
        assert set(read.values) == set(written)
        for name, column in written.items():
            np.testing.assert_array_equal(read[name], column)
    with pytest.raises(MissingArtifact, match="no comparison with five"):
        found.of("five")


def test_what_equals_the_first_comparison_is_stored_once(path: Path) -> None:
    stored = set(store.read_pairs(path, PAIR).values)
    assert {name for name in stored if name.endswith("self_a")} == {"one/self_a", "three/self_a", "four/self_a"}
    assert {name for name in stored if name.endswith("self_b")} == {f"{name}/self_b" for name in PAIRS}


def test_nan_that_is_equal_to_the_last_bit_is_equal(tmp_path: Path) -> None:
    own = np.array([np.nan, 1], np.float32)
    columns = {name: Column(column.dtype, column.axes, "none", undefined=True) for name, column in PAIR.columns.items()}
    schema, pairs = Schema("pair", 1, columns), {name: pair(0, own) for name in ("one", "two")}
    store.write_pairs(tmp_path / "b.safetensors", schema, pairs, MADE)
    found = store.read_pairs(tmp_path / "b.safetensors", schema)
    assert not any(name.startswith("two/") for name in found.values)
    np.testing.assert_array_equal(found.of("two")["self_a"], own)


def test_a_column_that_the_first_comparison_lacks_is_refused(tmp_path: Path) -> None:
    lacking = {"one": {name: column for name, column in PAIRS["one"].items() if name != "self_a"}, "two": PAIRS["two"]}
    with pytest.raises(InvalidInput, match="columns of pair"):
        store.write_pairs(tmp_path / "b.safetensors", PAIR, lacking, MADE)


def test_a_shared_column_of_another_size_is_refused(tmp_path: Path) -> None:
    """A file without four's own column, whose `a` has two entries, would be read with the four of the first comparison."""
    path = tmp_path / "b.safetensors"
    values = {f"{reference}/{name}": column for reference in ("one", "four") for name, column in PAIRS[reference].items()}
    del values["four/self_a"]
    values["references"] = np.frombuffer(b'["one", "four"]', np.uint8)
    store.write_arrays(path, of_references(PAIR, ["one", "four"], values), values, MADE)
    with pytest.raises(InvalidInput, match="a = "):
        store.read_pairs(path, PAIR)
