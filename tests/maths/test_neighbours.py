"""Weighted k-NN against a naive loop and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from harness.artifacts.errors import InvalidInput
from harness.maths import neighbours
from harness.maths.neighbours import classify


@pytest.fixture
def world():
    g = torch.Generator().manual_seed(0)
    bank = torch.randn(300, 8, generator=g, dtype=torch.float64)
    return bank, torch.randint(5, (300,), generator=g), torch.randn(97, 8, generator=g, dtype=torch.float64)


def naive(bank, labels, queries, classes, k, temperature):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    similarity = unit(queries.numpy()) @ unit(bank.numpy()).T
    answers = []
    for row in similarity:
        votes = np.zeros(classes)
        for j in np.argsort(-row)[:k]:
            votes[labels[j]] += np.exp(row[j] / temperature)
        answers.append(votes.argmax())
    return np.array(answers)


@pytest.mark.parametrize("chunk", [1, 13, 1024])
def test_equals_the_naive_loop_whatever_the_chunk(world, chunk):
    bank, labels, queries = world
    answer = classify(bank, labels, queries, classes=5, k=20, temperature=0.07, chunk=chunk)
    np.testing.assert_array_equal(answer.numpy(), naive(bank, labels, queries, 5, 20, 0.07))


@pytest.mark.parametrize("rows", [20, 79, 80, 81, 187, 299])
def test_banks_of_any_size_are_searched_whole(world, rows):
    bank, labels, queries = world
    bank, labels = bank[:rows], labels[:rows]
    answer = classify(bank, labels, queries, classes=5, k=20, temperature=0.07)
    np.testing.assert_array_equal(answer.numpy(), naive(bank, labels, queries, 5, 20, 0.07))


def test_equals_scikit_learn_with_the_same_weights(world):
    bank, labels, queries = world
    peer = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(bank, labels)
    answer = classify(bank, labels, queries, classes=5, k=20, temperature=0.07)
    np.testing.assert_array_equal(answer.numpy(), peer.predict(queries))


def test_a_bank_smaller_than_k_is_refused(world):
    bank, labels, queries = world
    with pytest.raises(InvalidInput, match="at least k = 20"):
        classify(bank[:19], labels[:19], queries, classes=5, k=20, temperature=0.07)


def test_a_bank_of_several_blocks_gives_the_votes_of_one_product(monkeypatch):
    g = torch.Generator().manual_seed(5)
    bank, queries = torch.randn(700, 16, generator=g), torch.randn(90, 16, generator=g)
    labels = torch.randint(6, (700,), generator=g)
    whole = classify(bank, labels, queries, classes=6, k=20, temperature=0.07)
    for block in (1, 64, 699, 700):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        assert torch.equal(classify(bank, labels, queries, classes=6, k=20, temperature=0.07), whole)


@pytest.mark.parametrize("rows", [1, 7, 19, 20, 21, 150, 299, 300])
def test_a_bank_in_parts_gives_the_votes_of_the_whole(world, rows):
    bank, labels, queries = world
    whole = classify(bank, labels, queries, classes=5, k=20, temperature=0.07)
    parts = classify(iter(bank.split(rows)), labels, queries, classes=5, k=20, temperature=0.07)
    assert torch.equal(parts, whole)


def test_parts_that_are_not_the_labels_are_refused(world):
    bank, labels, queries = world
    with pytest.raises(InvalidInput, match=r"(?s)labels.*300.*each of the bank's 250 rows"):
        classify(iter(bank[:250].split(100)), labels, queries, classes=5, k=20, temperature=0.07)
