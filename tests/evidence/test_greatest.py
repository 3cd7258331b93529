"""Whether the largest of many quantities lies below a margin."""

import numpy as np
import pytest
from scipy.stats import binom

from harness.evidence.decide import State, below
from harness.evidence.estimate import Estimate
from harness.evidence.greatest import greatest_below


def estimates(data, draws=300):
    """(unit, quantity) to an estimate of each quantity's mean."""
    n = len(data)

    def one(values):
        return Estimate.resample(lambda w: w @ values / n, n, seed=0, unit="subsets", key="k", draws=draws)

    return [one(values) for values in data.T]


def decide(data, margin):
    """As the claims do: every fourth unit chooses the witness, the others judge it."""
    chooses = np.arange(len(data)) % 4 == 0
    return greatest_below(estimates(data), estimates(data[chooses]), estimates(data[~chooses]), margin)


def planted(means, spread=0.01, units=32):
    return np.asarray(means) + spread * np.random.default_rng(3).normal(size=(units, len(means)))


def test_the_numbers_are_those_of_the_quantities_and_of_the_witness():
    data = planted([0.1, 0.3, 0.2])
    parts, judge = estimates(data), estimates(data[::2])
    witness = judge[1]
    made = greatest_below(parts, estimates(data[1::2]), judge, 0.5)
    assert made.estimate == max(part.value for part in parts) == pytest.approx(data.mean(axis=0).max())
    assert made.interval == (witness.interval()[0], max(part.interval()[1] for part in parts))
    assert (made.state, made.margin, made.n, made.unit, made.direction) == (State.SUPPORTED, 0.5, 32, "subsets", "below")
    assert made.excess == pytest.approx(0.5 - made.estimate)
    assert made.p_support == max(below(part, 0.5).p_support for part in parts)
    assert made.p_refute == below(witness, 0.5).p_refute
    assert made.reason.startswith("largest of 3: 0.2995, 95% interval [")
    assert made.reason.endswith("claimed below 0.5")


def test_of_one_quantity_it_is_supported_as_that_is():
    (part,) = estimates(planted([0.3]))
    for margin in (0.2, 0.3, 0.4):
        made, alone = greatest_below([part], [part], [part], margin), below(part, margin)
        assert (made.state, made.estimate, made.interval, made.excess) == (
            alone.state,
            alone.estimate,
            alone.interval,
            alone.excess,
        )


@pytest.mark.parametrize(
    ("means", "state"), [([0.1, 0.2, 0.4], State.REFUTED), ([0.1, 0.2], State.SUPPORTED), ([0.1, 0.3], State.INCONCLUSIVE)]
)
def test_one_quantity_on_the_other_side_refutes_and_one_at_the_margin_leaves_it_open(means, state):
    made = decide(planted(means), 0.3)
    assert made.state is state
    assert (made.doubt != "") is (state is State.INCONCLUSIVE)


def test_a_witness_of_too_few_units_refutes_nothing():
    data = planted([0.4, 0.1])
    parts = estimates(data)
    few, enough = (greatest_below(parts, parts, estimates(data[:n]), 0.3) for n in (5, 6))
    assert few.state is State.INCONCLUSIVE
    assert few.p_refute == 1.0
    assert few.doubt == "too few subsets to refute"
    assert "too few subsets to refute: 5, needed 6" in few.reason
    assert enough.state is State.REFUTED


def test_a_witness_below_the_margin_refutes_nothing():
    parts = estimates(planted([0.4, 0.1]))
    made = greatest_below(parts, parts[::-1], parts, 0.3)
    assert made.state is State.INCONCLUSIVE
    assert made.doubt == "another one is the largest on other subsets"


def test_support_that_hangs_on_one_unit_is_inconclusive():
    """Without unit 1 the second quantity is above the margin."""
    data = planted([0.1, 0.32], spread=0.001)
    data[1, 1] = -0.6
    made = decide(data, 0.3)
    alone = below(estimates(data)[1], 0.3)
    assert made.state is State.INCONCLUSIVE
    assert made.doubt == alone.doubt


@pytest.mark.parametrize("units", [8, 32])
@pytest.mark.parametrize("means", [np.full(20, 0.2), np.linspace(0.1, 0.2, 20), np.array([0.2, *[0.15] * 19]), np.array([0.2])])
def test_where_the_largest_is_at_the_margin_it_is_rarely_decided(means, units):
    rng, worlds, states, of_maximum = np.random.default_rng(9), 80, [], []
    for _ in range(worlds):
        data = means + rng.normal(scale=0.05, size=(units, len(means)))
        states.append(decide(data, 0.2).state)
        if units == 8:
            maximum = Estimate.resample(lambda w, data=data: (w @ data / 8).max(1), 8, seed=0, unit="u", key="k", draws=300)
            of_maximum.append(below(maximum, 0.2).state)
    # More would be seen in 1 of 1,000 tests; from 6 units BCa covers less than it says (`Estimate.interval`).
    most = binom.isf(1e-3, worlds, 0.025 if units == 32 else 0.05)
    assert states.count(State.SUPPORTED) <= most
    assert states.count(State.REFUTED) <= most
    # The interval of a resampled maximum decides too often.
    assert units == 32 or len(means) == 1 or worlds - of_maximum.count(State.INCONCLUSIVE) > most
