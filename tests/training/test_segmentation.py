"""The linear read-out of masks: it finds what is linear, and says nothing where nothing can be learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from harness.artifacts.errors import InvalidInput
from harness.training.segmentation import fit


def test_each_pixel_is_a_logistic_regression_as_scikit_learn_fits_it() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(400, 3)) * [1, 5, 0.2] + [0, 3, 1]
    inside = rng.uniform(size=(400, 2)) < 1 / (1 + np.exp(-tokens[:, :2] + [0, 3]))
    penalty = 1e-2
    found = fit(torch.tensor(tokens, dtype=torch.float32), torch.tensor(inside), penalty=penalty, steps=500)
    standard = (tokens - tokens.mean(0)) / tokens.std(0, ddof=1)
    for pixel in range(2):
        # Its loss is C times a sum over images and half the sum of squares; ours a mean over images and pixels, and a mean of
        # squares over pixels and features: times the images and pixels, and both over the same.
        one = LogisticRegression(C=3 / (2 * penalty * len(tokens)), tol=1e-8).fit(standard, inside[:, pixel])
        np.testing.assert_allclose(found.weight[pixel], one.coef_[0], atol=2e-3)
        np.testing.assert_allclose(found.bias[pixel], one.intercept_[0], atol=2e-3)


def test_what_is_linear_is_found_and_a_feature_that_never_varies_has_no_weight() -> None:
    tokens = torch.cat([torch.randn(300, 4, generator=torch.Generator().manual_seed(0)), torch.ones(300, 1)], 1)
    inside = tokens[:, :2] > 0.3
    found = fit(tokens, inside, penalty=1e-4)
    assert ((found.logits(tokens) > 0) == inside).float().mean() > 0.98
    assert not found.weight[:, -1].any()


@pytest.mark.parametrize(
    ("tokens", "inside", "field"),
    [
        (torch.zeros(4, 2), torch.ones(4, 3), "inside"),
        (torch.zeros(4, 2), torch.zeros(4, 3), "inside"),
        (torch.zeros(4, 2), torch.ones(5, 3), "tokens"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(tokens: torch.Tensor, inside: torch.Tensor, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fit(tokens, inside, penalty=1.0)
    assert refused.value.field == field
