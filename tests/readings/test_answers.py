"""Agreement evidence against plain means, subsets that stay paired, and ceilings."""

from __future__ import annotations

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays
from harness.readings.agreement import Agreement, MeasuredAnswers, PrintedAnswers
from harness.readings.published import load

N = 200


def values(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tau, chance = rng.uniform(-1, 1, (2, 2, N)).astype(np.float32)
    label, a, b = rng.integers(4, size=(3, N))
    return {"tau": tau, "chance": chance, "label": label, "answer_a": a, "answer_b": b}


def agreement(*, transposed: bool = False, seed: int = 0) -> Agreement:
    provenance = Provenance(profile="p", stage="agree", parameters="", code="", images="digest")
    return Agreement.from_arrays(Arrays(values(seed), provenance, ""), transposed=transposed)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("subset", ["all", "right", "wrong"])
def test_a_mean_is_over_the_images_that_the_first_model_answers_so(subset: str, transposed: bool) -> None:
    found, raw = agreement(transposed=transposed), values()
    right = raw["answer_b" if transposed else "answer_a"] == raw["label"]
    chosen = {"all": right | True, "right": right, "wrong": ~right}[subset]
    for row, k in enumerate((5, 10)):
        assert found.alike(k, subset).value == pytest.approx(raw["tau"][row][chosen].mean(), abs=1e-6)
        excess = (raw["tau"] - raw["chance"])[row][chosen].mean()
        assert found.beyond_accuracy(k, subset).value == pytest.approx(excess, abs=1e-6)
    without = found.alike(5, subset).jackknife
    assert without is not None
    left = chosen.copy()
    left[3] = False
    assert without[3] == pytest.approx(raw["tau"][0][left].mean(), abs=1e-6)


def test_agreements_with_one_model_are_paired_on_its_subsets() -> None:
    one, other = agreement(seed=0), agreement(seed=1)
    gap = one.alike(5, "right") - other.alike(5, "right")
    assert gap.n == N


def test_answers_and_their_ceiling() -> None:
    found, raw = agreement(), values()
    assert found.same_answer().value == pytest.approx((raw["answer_a"] == raw["answer_b"]).mean())
    accuracies = [(raw[name] == raw["label"]).mean() for name in ("answer_a", "answer_b")]
    assert found.ceiling() == pytest.approx(1 - abs(accuracies[0] - accuracies[1]))
    pairs = {("a", "c"): agreement(seed=0), ("b", "c"): agreement(seed=1)}
    answers = MeasuredAnswers(lambda a, b: pairs[a, b])
    plain = answers.gap(("a", "c"), ("b", "c"), matched=False)
    assert plain.value == pytest.approx(pairs["a", "c"].same_answer().value - pairs["b", "c"].same_answer().value)
    matched = answers.gap(("a", "c"), ("b", "c"), matched=True).value
    expected = [pair.same_answer().value / pair.ceiling() for pair in pairs.values()]
    assert matched == pytest.approx(expected[0] - expected[1])


def test_printed_answers_are_the_papers() -> None:
    printed = PrintedAnswers(load(ROOT / "claims" / "published.toml"))
    near, far = ("dino", "moco_v3"), ("mae", "moco_v3")
    assert printed.gap(near, far, matched=False).value == pytest.approx(0.05)
    # Relative to 1 - 0.0145 and 1 - 0.0860 the order reverses.
    assert printed.gap(near, far, matched=True).value == pytest.approx(0.93 / 0.9855 - 0.88 / 0.914, abs=1e-4)


def test_what_was_not_compared_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"one of \(5, 10\)"):
        agreement().alike(7, "all")
    raw = values()
    never = Agreement(raw["tau"], raw["chance"], raw["label"], raw["label"], raw["label"], "digest")
    with pytest.raises(InvalidInput, match="answered wrong"):
        never.alike(5, "wrong")
