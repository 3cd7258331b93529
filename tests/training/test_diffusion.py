"""Conditional diffusion: the solver against a known distribution, exact resume, and that the condition is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput
from harness.models.denoiser import CONDITION
from harness.params.profile import GenerationParams
from harness.training import diffusion
from harness.training.diffusion import Generator, held_out, train

N, SIZE = 64, 12
SHARES = torch.linspace(1, 2, SIZE) / torch.linspace(1, 2, SIZE).sum()


def params_of(**changes: object) -> GenerationParams:
    base = {
        "images": N,
        "width": 32,
        "depth": 2,
        "steps": 12,
        "batch": 8,
        "rate": 2e-3,
        "warmup_steps": 2,
        "ema": 0.9,
        "largest_level": 0.2,
    }
    return GenerationParams.model_validate(base | changes)


def data(seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """Vectors whose level is a feature of the first model; the second model's features say nothing."""
    fixed = torch.Generator().manual_seed(seed)
    level = torch.rand(N, generator=fixed)
    vectors = level[:, None] + 0.1 * torch.randn(N, SIZE, generator=fixed)
    told = torch.stack([level, torch.rand(N, generator=fixed)], 1)
    return vectors, [told * 5 + 3, torch.rand(N, 3, generator=fixed)]


def generator_of(*widths: int, **changes: object) -> Generator:
    return Generator(widths, params_of(**changes), SHARES)


def test_the_solver_draws_from_the_distribution_whose_best_prediction_it_is_given() -> None:
    """Of a Gaussian with mean m and variance s^2, E[x0 | xt] = m + a s^2 (xt - a m) / (a^2 s^2 + b^2)."""
    generator = generator_of(2)
    alphas = diffusion.DDPMScheduler(**diffusion.SCHEDULE).alphas_cumprod
    mean, variance = 0.7, 0.25

    class Best(torch.nn.Module):
        def forward(self, noisy: Tensor, time: Tensor, told: Tensor) -> Tensor:
            alpha = alphas[(time[0] * diffusion.TIMES).round().long()]
            a, b = alpha.sqrt(), (1 - alpha).sqrt()
            clean = mean + a * variance * (noisy - a * mean) / (a**2 * variance + b**2)
            return (a * noisy - clean) / b

    generator.denoiser = Best()
    generator.mean_vector.fill_(100.0)
    generator.std_vector.fill_(40.0)
    noise = torch.randn(4000, SIZE, generator=torch.Generator().manual_seed(0))
    drawn = generator.sample(torch.zeros(4000, 2), 0, 0.0, noise, steps=20)
    assert drawn.mean().item() == pytest.approx(100 + 40 * mean, abs=1.0)
    assert drawn.std().item() == pytest.approx(40 * variance**0.5, rel=0.03)


def test_the_loss_of_the_true_velocity_is_zero_and_that_of_nothing_its_mean_square_by_shares() -> None:
    generator = generator_of(2)
    clean, noise = torch.randn(4, SIZE), torch.randn(4, SIZE)
    time = torch.tensor([0, 300, 700, 999])
    velocity = diffusion.DDPMScheduler(**diffusion.SCHEDULE).get_velocity(clean, noise, time)
    for answer, expected in ((velocity, torch.zeros(4)), (torch.zeros_like(velocity), velocity.square() @ SHARES)):
        generator.denoiser = _Answers(answer)
        assert torch.allclose(generator.error(clean, torch.zeros(4, CONDITION), time, noise), expected)


class _Answers(torch.nn.Module):
    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Tensor) -> Tensor:
        return self.answer


def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "KEPT_EVERY", 5)
    vectors, features = data()
    ends, curves = [], []
    for name, stops in (("whole", [None]), ("killed", [3, 5, 8, None])):
        for until in stops:
            torch.manual_seed(7)
            generator = generator_of(2, 3)
            curve = train(generator, vectors, features, params_of(), tmp_path / name, until=until)
        ends.append(generator.state_dict())
        curves.append(curve)
    assert len(curves[0]) == 3
    assert curves[0] == curves[1]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_generator_ends_with_the_moving_average(tmp_path: Path) -> None:
    vectors, features = data()
    ends = []
    for ema in (0.5, 0.999):
        torch.manual_seed(7)
        generator = generator_of(2, 3)
        before = generator.denoiser.leave.weight.clone()
        train(generator, vectors, features, params_of(ema=ema), tmp_path / str(ema))
        ends.append((generator.denoiser.leave.weight - before).abs().mean().item())
    assert ends[1] < 0.3 * ends[0]


def test_samples_follow_an_informative_feature_and_their_loss_is_lower(tmp_path: Path) -> None:
    vectors, features = data()
    torch.manual_seed(0)
    generator = generator_of(2, 3)
    train(generator, vectors, features, params_of(steps=300, batch=32, rate=5e-3), tmp_path)
    others, given = data(seed=1)
    known = [generator.features(part, i) for i, part in enumerate(given)]
    informative, nothing = (held_out(generator, others, part, i, level=0.0) for i, part in enumerate(known))
    assert informative < 0.8 * nothing
    assert held_out(generator, others, known[0], 0, level=0.0, batch=7) == pytest.approx(informative, rel=1e-5)
    noise = torch.randn(N, SIZE, generator=torch.Generator().manual_seed(0))
    grey = others.mean(1)
    told, silent = (generator.sample(part, i, 0.0, noise, steps=8).mean(1) for i, part in enumerate(known))
    assert torch.corrcoef(torch.stack([told, grey]))[0, 1] > 0.8
    assert torch.corrcoef(torch.stack([silent, grey]))[0, 1].abs() < 0.5


def test_features_are_standardised_by_their_own_models_images(tmp_path: Path) -> None:
    vectors, features = data()
    generator = generator_of(2, 3)
    generator.standardise_by(vectors, features)
    for i, part in enumerate(features):
        known = generator.features(part, i)
        assert torch.allclose(known.mean(0), torch.zeros(part.shape[1]), atol=1e-5)
        assert torch.allclose(known.std(0), torch.ones(part.shape[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda part: part * torch.tensor([1.0, 0.0]), "without variance"),
        (lambda part: part / torch.tensor([1.0, 0.0]), "not finite"),
    ],
)
def test_features_that_say_nothing_are_refused(spoil: object, match: str) -> None:
    vectors, (features, _) = data()
    with pytest.raises(InvalidInput, match=match):
        generator_of(2).standardise_by(vectors, [spoil(features)])


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 features"):
        generator_of(2).features(torch.zeros(4, 5), 0)


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    vectors, features = data()
    with pytest.raises(InvalidInput, match="finite loss"):
        train(generator_of(2, 3), vectors, features, params_of(rate=1e30), tmp_path)
