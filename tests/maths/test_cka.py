"""HSIC and CKA against equations 1 to 3 written out as loops, properties, and mutants that the oracle must notice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.artifacts.errors import InvalidInput
from harness.maths import cka
from harness.maths.hsic import centred_gram


def hsic1(k, l):  # noqa: E741
    """Eq. 3, term by term."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    trace = np.trace(k @ l)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (trace + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def oracle(xs, ys):
    """Eq. 2 for one pair of layers: xs (k, n, p), ys (k, n, q)."""
    grams = [(x @ x.T, y @ y.T) for x, y in zip(xs, ys, strict=True)]
    top = np.mean([hsic1(a, b) for a, b in grams])
    return top / np.sqrt(np.mean([hsic1(a, a) for a, _ in grams]) * np.mean([hsic1(b, b) for _, b in grams]))


def bank(layers, dtype=torch.float64):
    """(L, k, n, p) features to (L, k, m)."""
    return centred_gram(torch.as_tensor(np.asarray(layers), dtype=dtype), dtype=dtype).numpy()


def measure(xs, ys, dtype=torch.float64):
    a, b = bank(xs[None], dtype), bank(ys[None], dtype)
    n = xs.shape[1]
    return cka.minibatch_cka(cka.cross_hsic(a, b, n), cka.self_hsic(a, n), cka.self_hsic(b, n))[0, 0]


def pair(seed, k=3, n=6, p=4, q=5, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, n, p))
    return x, x @ rng.normal(size=(p, q)) + noise * rng.normal(size=(k, n, q))


def test_hsic_equals_equation_3_on_ten_thousand_cases():
    rng = np.random.default_rng(0)
    for n in (4, 5, 8, 32):
        count = 2500
        x, y = rng.normal(size=(count, n, 3)), rng.normal(size=(count, n, 2))
        got = cka.cross_hsic(bank(x)[None], bank(y)[None], n)[:, 0, 0]
        expected = np.array([hsic1(a @ a.T, b @ b.T) for a, b in zip(x, y, strict=True)])
        scale = np.array([np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T) for a, b in zip(x, y, strict=True)]) / n**2
        assert (np.abs(got - expected) / scale).max() < 1e-10


@pytest.mark.parametrize("seed", range(20))
def test_cka_equals_equation_2(seed):
    x, y = pair(seed)
    assert measure(x, y) == pytest.approx(oracle(x, y), rel=1e-10)


def test_all_layer_pairs_at_once_equal_each_alone():
    xs = np.stack([pair(s)[0] for s in range(4)])
    ys = np.stack([pair(s)[1] for s in range(3)])
    a, b = bank(xs), bank(ys)
    grid = cka.minibatch_cka(cka.cross_hsic(a, b, 6), cka.self_hsic(a, 6), cka.self_hsic(b, 6))
    expected = [[oracle(x, y) for y in ys] for x in xs]
    np.testing.assert_allclose(grid, expected, rtol=1e-10)


def test_weights_are_multiplicities_of_minibatches():
    x, y = pair(0, k=5)
    a, b = bank(x[None]), bank(y[None])
    parts = cka.cross_hsic(a, b, 6), cka.self_hsic(a, 6), cka.self_hsic(b, 6)
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 0, 3, 0]])
    got = cka.minibatch_cka(*parts, weights=weights)[:, 0, 0]
    chosen = [0, 0, 3, 3, 3]
    np.testing.assert_allclose(got, [oracle(x, y), oracle(x[chosen], y[chosen])], rtol=1e-10)


def test_a_mean_offset_does_no_harm_in_float32():
    x, y = pair(1, k=8, n=32, p=64, q=64)
    assert measure(x + 1000, y - 1000, torch.float32) == pytest.approx(oracle(x, y), abs=1e-4)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_properties(seed):
    rng = np.random.default_rng(seed)
    x, y = pair(seed)
    value = measure(x, y)
    assert measure(x, x) == pytest.approx(1, abs=1e-12)
    assert measure(y, x) == pytest.approx(value, abs=1e-12)
    assert abs(value) <= 1 + 1e-12
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert measure(3 * x @ rotation + rng.normal(size=4), y) == pytest.approx(value, abs=1e-9)
    order = rng.permutation(6)
    assert measure(x[:, order], y[:, order]) == pytest.approx(value, abs=1e-9)


def test_permuting_the_bank_equals_permuting_the_images():
    x, _ = pair(3)
    order = np.stack([np.random.default_rng(i).permutation(6) for i in range(3)])
    moved = np.stack([x[i, order[i]] for i in range(3)])
    np.testing.assert_allclose(cka.permute_images(bank(x[None]), order), bank(moved[None]), atol=1e-12)


def mutant_diagonal(k, l):  # noqa: E741
    return hsic1(k - np.diag(k), l - np.diag(l))


def mutant_biased(k, l):  # noqa: E741
    n = len(k)
    h = np.eye(n) - 1 / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def mutant_n2(k, l):  # noqa: E741
    n = len(k)
    return hsic1(k, l) * (n - 3) / (n - 2)


@pytest.mark.parametrize("mutant", [mutant_diagonal, mutant_biased, mutant_n2])
def test_mutants_of_hsic_are_noticed(mutant):
    x, y = pair(0, k=1)
    got = cka.cross_hsic(bank(x[None]), bank(y[None]), 6)[0, 0, 0]
    assert got != pytest.approx(mutant(x[0] @ x[0].T, y[0] @ y[0].T), rel=1e-3)


def test_mean_of_ratios_and_a_dropped_root_are_noticed():
    x, y = pair(0)
    ratios = np.mean([oracle(x[[i]], y[[i]]) for i in range(3)])
    assert measure(x, y) != pytest.approx(ratios, rel=1e-3)
    assert measure(x, y) != pytest.approx(oracle(x, y) ** 2, rel=1e-3)


def test_bad_banks_are_refused():
    with pytest.raises(InvalidInput, match="at least 4"):
        centred_gram(torch.zeros(3, 5))
    spoiled = torch.zeros(2, 8, 5)
    spoiled[1, 6, 2] = float("nan")
    with pytest.raises(InvalidInput, match=r"1 NaN or Inf, first at \[1, 6, 2\]"):
        centred_gram(spoiled)
    with pytest.raises(InvalidInput, match="second bank"):
        cka.cross_hsic(np.zeros((1, 2, 15)), np.zeros((1, 3, 15)), 6)
    with pytest.raises(InvalidInput, match="at least 4"):
        cka.self_hsic(np.zeros((1, 2, 3)), 3)


def test_a_dead_layer_is_named_and_never_a_number():
    x, y = pair(0)
    a, b = bank(np.stack([x, np.ones_like(x)])), bank(y[None])
    selves = cka.self_hsic(a, 6)
    assert cka.dead_layers(selves).tolist() == [1]
    grid = cka.minibatch_cka(cka.cross_hsic(a, b, 6), selves, cka.self_hsic(b, 6))
    assert np.isfinite(grid[0]).all()
    assert np.isnan(grid[1]).all()
