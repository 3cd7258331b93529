"""A bank's summary stays while the bank is the same but for rounding, and is another one for every other bank."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import BANK, SUMMARY, unpack
from harness.stages import extract, summary, weights
from harness.stages.place import Place

MADE = Path("artifacts/tiny/summaries/one.safetensors")


@pytest.fixture
def bank(tiny: Place) -> Arrays:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    return store.read_arrays(tiny.path("banks", "one"), BANK)


def changed(bank: Arrays, name: str, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Arrays:
    """The bank with one array changed, as numbers of its own type."""
    values = change(np.array(bank[name], np.float64)).astype(bank[name].dtype)
    return replace(bank, values={**bank.values, name: values})


def test_it_has_each_layer_and_each_token_at_each_depth(bank: Arrays) -> None:
    found = store.read_arrays(MADE, SUMMARY)
    layers, splits, tokens = unpack(bank["layers"]), ("train", "validation"), ("cls", "gap")
    features = [f"{split} {token} {depth}" for split in splits for token in tokens for depth in range(4)]
    assert unpack(found["parts"]) == [f"gram {layer}" for layer in layers] + features
    # CLS at depths 0 to 3 of width 16 each, then the mean patch token.
    gram, gap = bank["gram"][:, 3], bank["validation"][:, 64 + 32 : 64 + 48]
    for name, part in ((f"gram {layers[3]}", gram), ("validation gap 2", gap)):
        i = unpack(found["parts"]).index(name)
        assert found["rms"][i] == pytest.approx(np.sqrt((part.astype(np.float64) ** 2).mean()))
        assert found["sample"][i, [0, -1]].tolist() == [part[0, 0], part[-1, -1]]
        assert np.isin(found["sample"][i], part).all()


def test_rounding_and_code_that_is_written_otherwise_leave_it_to_the_byte(tiny: Place, bank: Arrays) -> None:
    before = MADE.read_bytes()
    noise = np.random.default_rng(0)
    rounded = changed(bank, "gram", lambda x: x * (1 + 1e-5 * noise.standard_normal(x.shape)))
    provenance = bank.provenance.model_copy(update={"code": "another", "machine": "another"})
    summary.keep(tiny, "one", replace(rounded, provenance=provenance))
    assert MADE.read_bytes() == before


@pytest.mark.parametrize("array", ["gram", "train", "validation"])
@pytest.mark.parametrize("factor", [1.01, 0.99, -1.0])
def test_a_part_that_moved_by_a_hundredth_makes_another(tiny: Place, bank: Arrays, array: str, factor: float) -> None:
    before = MADE.read_bytes()
    # One layer, or one token's features at one depth: both are 16 wide, or one.
    part = np.s_[:, 2] if array == "gram" else np.s_[:, 16:32]

    def move(values: NDArray[np.float64]) -> NDArray[np.float64]:
        values[part] *= factor
        return values

    summary.keep(tiny, "one", changed(bank, array, move))
    assert MADE.read_bytes() != before


@pytest.mark.parametrize("field", ["parameters", "images", "weights"])
def test_what_was_made_of_something_else_makes_another(tiny: Place, bank: Arrays, field: str) -> None:
    before = MADE.read_bytes()
    summary.keep(tiny, "one", replace(bank, provenance=bank.provenance.model_copy(update={field: "another"})))
    assert MADE.read_bytes() != before


def test_small_steps_do_not_add_up(tiny: Place, bank: Arrays) -> None:
    """It is the first of them that each is held against."""
    before = MADE.read_bytes()
    for step in range(1, 4):
        summary.keep(tiny, "one", changed(bank, "gram", lambda x, step=step: x * (1 + 4e-4 * step)))
        assert (MADE.read_bytes() == before) == (step < 3)


def test_one_that_cannot_be_read_is_made_again(tiny: Place, bank: Arrays) -> None:
    before = MADE.read_bytes()
    MADE.write_bytes(before[:-20])
    summary.keep(tiny, "one", bank)
    assert MADE.read_bytes() == before


def test_a_bank_that_is_not_there_is_extracted_again_and_its_summary_stays(tiny: Place, bank: Arrays) -> None:
    before, values = MADE.read_bytes(), {name: np.array(array) for name, array in bank.values.items()}
    tiny.path("banks", "one").unlink()
    again = summary.bank(tiny, "one")
    assert all(np.array_equal(again[name], values[name]) for name in values)
    assert MADE.read_bytes() == before


def test_a_bank_of_other_weights_is_extracted_again(tiny: Place, bank: Arrays) -> None:
    old = bank.provenance.model_copy(update={"weights": "of another branch"})
    store.write_arrays(tiny.path("banks", "one"), BANK, {name: np.array(array) for name, array in bank.values.items()}, old)
    assert summary.bank(tiny, "one").sha256 == bank.sha256


@pytest.mark.parametrize("read", [summary.bank, summary.compared])
def test_a_bank_that_comes_out_otherwise_than_its_summary_says_is_refused(
    tiny: Place, bank: Arrays, read: Callable[[Place, str], Arrays]
) -> None:
    known = store.read_arrays(MADE, SUMMARY)
    values = {name: np.array(array) for name, array in known.values.items()}
    values["rms"][2] *= 1.01
    store.write_arrays(MADE, SUMMARY, values, known.provenance)
    tiny.path("banks", "one").unlink()
    with pytest.raises(InvalidInput, match=r"another bank than the one that was measured[\s\S]*run dvc repro"):
        read(tiny, "one")


def test_without_a_bank_a_comparison_reads_the_first_images_and_forwards_no_others(tiny: Place, bank: Arrays) -> None:
    n = tiny.settings.extract.images
    assert summary.compared(tiny, "one").sha256 == bank.sha256
    tiny.path("banks", "one").unlink()
    found = summary.compared(tiny, "one")
    assert not tiny.path("banks", "one").exists()
    for name in ("gram", "norm", "layers", "tokens", "widths"):
        np.testing.assert_array_equal(found[name], bank[name])
    for name in ("validation", "validation_label", "validation_image"):
        np.testing.assert_array_equal(found[name], bank[name][:n])
    assert len(found["train"]) == 0
    assert found.provenance.images == bank.provenance.images
    # It is there now, and read as it lies.
    assert summary.compared(tiny, "one").sha256 == found.sha256
