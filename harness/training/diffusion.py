"""Conditional diffusion (RCDM, Bordes et al., 2022): samples that are conditioned on a frozen representation alone.

One denoiser serves the representations of several models. It draws vectors, from which images are made. Features are
standardised over the training images. Noise of a random level is added to them, and the denoiser is told the level, so that
samples can be drawn at any level up to the largest. The schedule is the cosine one, and the denoiser predicts v (Salimans and
Ho, 2022).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from harness.artifacts.errors import InvalidInput
from harness.models.denoiser import Condition, Denoiser
from harness.params.profile import GenerationParams
from harness.training import state
from harness.training.schedules import warmup_cosine

# Time steps of the schedule, and of training between two states that are kept.
TIMES, KEPT_EVERY = 1000, 500
# Of an entry of the vectors, in its own unit.
LEAST_STD = 0.05
SCHEDULE = {"num_train_timesteps": TIMES, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


class Generator(nn.Module):
    """A denoiser, a first layer for each model's features, and what vectors and features are standardised by."""

    def __init__(self, widths: Sequence[int], params: GenerationParams, shares: Tensor) -> None:
        """widths: of the features of each model. shares: (d,), of the loss, that the entries of a vector have; 1 in all."""
        super().__init__()
        size = len(shares)
        self.register_buffer("shares", shares)
        self.denoiser, self.condition = _denoiser(size, params), Condition(widths)
        self.schedule = DDPMScheduler(**SCHEDULE)
        for name, width in (("vector", size), *((str(i), width) for i, width in enumerate(widths))):
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"std_{name}", torch.ones(width))

    def standardise_by(self, vectors: Tensor, features: Sequence[Tensor]) -> None:
        """Take the statistics of vectors (n, d) and of each model's features (n, width).

        Raises InvalidInput for features that are not finite, or that are the same for all images.
        """
        # An entry that hardly varies is no more important than one that does.
        mean, std = _statistics(vectors)
        self.get_buffer("mean_vector").copy_(mean)
        self.get_buffer("std_vector").copy_(std.clamp(min=LEAST_STD))
        for i, known in enumerate(features):
            std = known.std(0)
            finite = torch.isfinite(known).all()
            if not finite or not (std > 0).all():
                field, seen = f"features of model {i}", "a feature without variance" if finite else "values that are not finite"
                raise InvalidInput("generator", field=field, seen=seen, expected="finite, and of some variance")
            self.get_buffer(f"mean_{i}").copy_(known.mean(0))
            self.get_buffer(f"std_{i}").copy_(std)

    def vectors(self, vectors: Tensor) -> Tensor:
        """Vectors (n, d), standardised."""
        return (vectors - self.get_buffer("mean_vector")) / self.get_buffer("std_vector")

    def features(self, features: Tensor, model: int) -> Tensor:
        """A model's features (n, width), standardised. Raises InvalidInput for another width than the model's."""
        mean = self.get_buffer(f"mean_{model}")
        if features.shape[1:] != mean.shape:
            seen, expected = f"{features.shape[1]} features", f"{len(mean)}, with which it was trained"
            raise InvalidInput("generator", field=f"features of model {model}", seen=seen, expected=expected)
        return (features - mean) / self.get_buffer(f"std_{model}")

    def told(self, given: Sequence[Tensor], levels: Tensor) -> Tensor:
        """Conditions (n, width) of images of several models, model by model.

        given: for each model the standardised features of its images, with noise. levels: (n,), of the noise.
        """
        parts = zip(given, levels.split([len(part) for part in given]), strict=True)
        return torch.cat([self.condition(part, level, i) for i, (part, level) in enumerate(parts)])

    def error(self, clean: Tensor, told: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Squared error of v for each image, (n,), the mean over a vector's entries by their shares.

        clean: (n, d), standardised. told: (n, width) conditions. time: (n,) in 0 to TIMES - 1. noise: like clean.
        """
        noisy, v = self.schedule.add_noise(clean, noise, time), self.schedule.get_velocity(clean, noise, time)
        return F.mse_loss(self.denoiser(noisy, time / TIMES, told), v, reduction="none") @ self.get_buffer("shares")

    @torch.inference_mode()
    def sample(self, given: Tensor, model: int, level: float, noise: Tensor, *, steps: int) -> Tensor:
        """Vectors (n, d) by DPM-Solver++, second order.

        given: (n, width), a model's standardised features, to which noise of the level was added. noise: (n, d), what
        the samples start from.
        """
        schedule = DPMSolverMultistepScheduler(**SCHEDULE, timestep_spacing="trailing")
        schedule.set_timesteps(steps)
        told = self.condition(given, torch.full((len(given),), level, device=noise.device), model)
        found = noise
        for time in schedule.timesteps:
            v = self.denoiser(found, torch.full((len(found),), time.item() / TIMES, device=noise.device), told)
            found = schedule.step(v, time, found).prev_sample
        return found * self.get_buffer("std_vector") + self.get_buffer("mean_vector")


def _denoiser(size: int, params: GenerationParams) -> nn.Module:
    if params.side is None:
        return Denoiser(size, params.width, params.depth)
    # Scenes need none of it, and its import takes seconds.
    from harness.models.unet import UNet

    return UNet(params.side, params.width, params.depth)


def _statistics(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (d,) of vectors (n, d), in parts: photographs as floating-point numbers may not fit."""
    n, parts = len(vectors), vectors.split(4096)
    mean = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0) / n
    squares = torch.stack([(part - mean).square().sum(0) for part in parts]).sum(0)
    return mean, (squares / (n - 1)).sqrt()


def train(
    generator: Generator,
    vectors: Tensor,
    features: Sequence[Tensor],
    params: GenerationParams,
    scratch: Path,
    *,
    until: int | None = None,
    device: str = "cpu",
) -> list[float]:
    """Train in place; the generator ends with the moving average of its weights. Returns the mean loss of each KEPT_EVERY.

    vectors: (n, d), of any type. features: of each model (n, width). Each batch has as many images for one model as for
    another.
    scratch: folder of the resumable state. An interrupted run ends with the same weights as an uninterrupted one.
    until: stop after so many steps of the schedule. Raises InvalidInput when the loss stops being finite.
    """
    torch.manual_seed(params.seed)
    generator.standardise_by(vectors, features)
    generator.to(device).train()
    wanted = vectors.to(device)
    known = [generator.features(part.to(device), i) for i, part in enumerate(features)]
    optimiser = torch.optim.AdamW(generator.parameters(), lr=params.rate, weight_decay=0.01)
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(params.ema))
    curve: list[float] = []
    total = torch.zeros((), device=device)
    parts = {"generator": generator, "average": average, "optimiser": optimiser}
    done = 0
    if kept := state.restore(scratch, parts):
        done, curve = kept["steps"], kept["curve"]
        total.copy_(kept["total"])
    last = min(params.steps, until or params.steps)
    share = [len(part) for part in torch.arange(params.batch).tensor_split(len(known))]
    for step in tqdm(range(done, last), initial=done, total=last, unit="step", disable=not sys.stderr.isatty()):
        for group in optimiser.param_groups:
            group["lr"] = warmup_cosine(step, params.warmup_steps, params.steps, params.rate)
        chosen = torch.randint(len(wanted), (params.batch,)).to(device)
        levels = params.largest_level * torch.rand(params.batch).to(device)
        given = [part[own] for part, own in zip(known, chosen.split(share), strict=True)]
        given = [one + level[:, None] * torch.randn_like(one) for one, level in zip(given, levels.split(share), strict=True)]
        time = torch.randint(TIMES, (params.batch,)).to(device)
        clean = generator.vectors(wanted[chosen])
        loss = generator.error(clean, generator.told(given, levels), time, torch.randn_like(clean)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(generator)
        total += loss.detach()
        since = (step % KEPT_EVERY) + 1
        if since == KEPT_EVERY or step + 1 == params.steps:
            curve.append(total.item() / since)
            total.zero_()
            print(json.dumps({"step": step + 1, "loss": curve[-1]}), file=sys.stderr, flush=True)
            if not math.isfinite(curve[-1]):
                seen, expected = f"{curve[-1]} before step {step + 1}", "a finite loss"
                raise InvalidInput("generator", field="loss", seen=seen, expected=expected, next_step="lower generation.rate")
        if since == KEPT_EVERY or step + 1 == last:
            state.save(scratch, parts, {"steps": step + 1, "curve": curve, "total": total})
    if last == params.steps:
        generator.load_state_dict(average.module.state_dict())
    return curve


@torch.inference_mode()
def held_out(generator: Generator, vectors: Tensor, given: Tensor, model: int, *, level: float, batch: int = 512) -> float:
    """The mean loss on vectors that the generator was not trained on, at fixed times and noise.

    vectors: (n, d). given: (n, width), a model's standardised features, to which noise of the level was added.
    """
    generator.eval()
    fixed = torch.Generator().manual_seed(0)
    time = torch.randint(TIMES, (len(vectors),), generator=fixed).to(vectors.device)
    noise = torch.randn(vectors.shape, generator=fixed).to(vectors.device)
    total = 0.0
    for part in torch.arange(len(vectors)).split(batch):
        told = generator.condition(given[part], torch.full((len(part),), level, device=vectors.device), model)
        total += generator.error(generator.vectors(vectors[part]), told, time[part], noise[part]).sum().item()
    return total / len(vectors)
