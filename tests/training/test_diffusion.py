"""Conditional diffusion: the solver against a known distribution, exact resume, and that the condition is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput
from harness.params.profile import GenerationParams
from harness.training import diffusion
from harness.training.diffusion import Generator, held_out, train

N, SIZE = 64, 8


def params_of(**changes: object) -> GenerationParams:
    base = {
        "images": N,
        "channels": 8,
        "steps": 12,
        "batch": 8,
        "rate": 2e-3,
        "warmup_steps": 2,
        "ema": 0.9,
        "largest_level": 0.2,
    }
    return GenerationParams.model_validate(base | changes)


def data(seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """Grey images whose brightness is a feature of the first model; the second model's features say nothing."""
    fixed = torch.Generator().manual_seed(seed)
    grey = torch.rand(N, generator=fixed)
    images = (40 + 160 * grey)[:, None, None, None].expand(N, 3, SIZE, SIZE).round().to(torch.uint8)
    told = torch.stack([grey, torch.rand(N, generator=fixed)], 1)
    return images, [told * 5 + 3, torch.rand(N, 3, generator=fixed)]


def test_the_solver_draws_from_the_distribution_whose_best_prediction_it_is_given() -> None:
    """Of Gaussian pixels with mean m and variance s^2, E[x0 | xt] = m + a s^2 (xt - a m) / (a^2 s^2 + b^2)."""
    generator = Generator(SIZE, 8, [2])
    alphas = diffusion.DDPMScheduler(**diffusion.SCHEDULE).alphas_cumprod
    mean, variance = 0.7, 0.25

    class Best(torch.nn.Module):
        def forward(self, images: Tensor, time: Tensor, told: Tensor) -> Tensor:
            alpha = alphas[(time[0] * diffusion.TIMES).round().long()]
            a, b = alpha.sqrt(), (1 - alpha).sqrt()
            clean = mean + a * variance * (images - a * mean) / (a**2 * variance + b**2)
            return (a * images - clean) / b

    generator.denoiser = Best()
    generator.pixel_mean.fill_(100.0)
    generator.pixel_std.fill_(40.0)
    noise = torch.randn(200, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    drawn = generator.sample(torch.zeros(200, 2), 0, 0.0, noise, steps=20).float()
    assert drawn.mean().item() == pytest.approx(100 + 40 * mean, abs=1.0)
    assert drawn.std().item() == pytest.approx(40 * variance**0.5, rel=0.03)


def test_the_loss_of_the_true_velocity_is_zero_and_that_of_nothing_its_mean_square() -> None:
    generator = Generator(SIZE, 8, [2])
    clean, noise = torch.randn(4, 3, SIZE, SIZE), torch.randn(4, 3, SIZE, SIZE)
    time = torch.tensor([0, 300, 700, 999])
    velocity = diffusion.DDPMScheduler(**diffusion.SCHEDULE).get_velocity(clean, noise, time)
    for answer, expected in ((velocity, torch.zeros(4)), (torch.zeros_like(velocity), velocity.square().mean((1, 2, 3)))):
        generator.denoiser = _Answers(answer)
        assert torch.allclose(generator.error(clean, torch.zeros(4, 128), time, noise), expected)


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
    images, features = data()
    ends, curves = [], []
    for name, stops in (("whole", [None]), ("killed", [3, 5, 8, None])):
        for until in stops:
            torch.manual_seed(7)
            generator = Generator(SIZE, 8, [2, 3])
            curve = train(generator, images, features, params_of(), tmp_path / name, until=until)
        ends.append(generator.state_dict())
        curves.append(curve)
    assert len(curves[0]) == 3
    assert curves[0] == curves[1]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_generator_ends_with_the_moving_average(tmp_path: Path) -> None:
    images, features = data()
    ends = []
    for ema in (0.5, 0.999):
        torch.manual_seed(7)
        generator = Generator(SIZE, 8, [2, 3])
        before = generator.denoiser.leave.weight.clone()
        train(generator, images, features, params_of(ema=ema), tmp_path / str(ema))
        ends.append((generator.denoiser.leave.weight - before).abs().mean().item())
    assert ends[1] < 0.3 * ends[0]


def test_samples_follow_an_informative_feature_and_their_loss_is_lower(tmp_path: Path) -> None:
    images, features = data()
    torch.manual_seed(0)
    generator = Generator(SIZE, 8, [2, 3])
    train(generator, images, features, params_of(steps=300, batch=32, rate=5e-3), tmp_path)
    others, given = data(seed=1)
    known = [generator.features(part, i) for i, part in enumerate(given)]
    informative, nothing = (held_out(generator, others, part, i, level=0.0) for i, part in enumerate(known))
    assert informative < 0.8 * nothing
    assert held_out(generator, others, known[0], 0, level=0.0, batch=7) == pytest.approx(informative, rel=1e-5)
    noise = torch.randn(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    grey = others.float().mean((1, 2, 3))
    told, silent = (generator.sample(part, i, 0.0, noise, steps=8).float().mean((1, 2, 3)) for i, part in enumerate(known))
    assert torch.corrcoef(torch.stack([told, grey]))[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([silent, grey]))[0, 1].abs() < 0.5


def test_features_are_standardised_by_their_own_models_images(tmp_path: Path) -> None:
    images, features = data()
    generator = Generator(SIZE, 8, [2, 3])
    generator.standardise_by(images, features)
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
    images, (features, _) = data()
    with pytest.raises(InvalidInput, match=match):
        Generator(SIZE, 8, [2]).standardise_by(images, [spoil(features)])


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 features"):
        Generator(SIZE, 8, [2]).features(torch.zeros(4, 5), 0)


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    images, features = data()
    with pytest.raises(InvalidInput, match="finite loss"):
        train(Generator(SIZE, 8, [2, 3]), images, features, params_of(rate=1e30), tmp_path)


def test_a_size_that_two_halvings_do_not_divide_is_refused() -> None:
    with pytest.raises(InvalidInput, match="multiple of 4"):
        Generator(10, 8, [2])
