"""Sample: images that a diffusion model samples from a model's features, compared with their sources."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.provenance import digest
from harness.artifacts.tables import SAMPLES, pack
from harness.data import images, mirrors
from harness.data.images import Images, hashes
from harness.data.targets import Targets, targets_of
from harness.maths.frechet import frechet
from harness.maths.neighbours import classify
from harness.models import checkpoint
from harness.params.profile import GenerationParams, SamplingParams
from harness.params.wording import nearest
from harness.stages.finals import final_features
from harness.stages.place import Place
from harness.training.diffusion import Generator, held_out

LIBRARIES = ("torch", "timm", "diffusers", "numpy", "scikit-learn")
# Training images for the class of a sample and for the regression of factors; sources whose samples are kept to be shown.
JUDGED_BY, KEPT = 4096, 12


def run(place: Place, model: str, token: str, *, device: str = "cpu") -> None:
    """Make samples/<token>/<model>: how far each sample is from its source and its mirror images, at each level of noise.

    The sources are the first validation images of which these differ enough. Samples start from the same noise for every model.
    What samples are worth is measured on them and on the validation images that follow.
    Raises InvalidInput for a profile without generation, a model that it does not sample, and a generator that was trained on
    other checkpoints; MissingArtifact without a generator.
    """
    settings, generation, data = place.settings.sampling, place.settings.generation, place.settings.data
    sampled = place.settings.sampled
    if settings is None or generation is None or model not in sampled:
        expected = nearest(model, sampled) if sampled else "no model: the profile samples none"
        raise InvalidInput("params.yaml", field=f"profiles.{place.profile}.sampled", seen=model, expected=expected)
    pool, seed = place.settings.extract.images, place.settings.extract.seed
    targets = targets_of(data, generation.side, seed)
    chosen, names, made = _sources(targets, settings, pool)
    validation = images.load(data, "validation", pool + settings.validation, seed)
    features, weights = final_features(place, model, validation, token, device=device)
    vectors = torch.from_numpy(targets.vectors("validation", np.arange(pool, len(validation)))).to(device)
    index = sorted(sampled).index(model)
    generator, inputs = _generator(place, generation, token, targets.shares(vectors.shape[1]), weights, model)
    generator.to(device).eval()
    known = generator.features(torch.from_numpy(features).to(device), index)
    learnt = images.load(data, "train", JUDGED_BY, seed)
    to_learn = generator.features(
        torch.from_numpy(final_features(place, model, learnt, token, device=device)[0]).to(device), index
    )
    truth = targets.vectors("train", np.arange(len(learnt)))

    found = list(_drawn(generator, known[chosen], index, settings, generation.batch))
    pictures = [targets.decode(part) for part in found]
    by_source = [part.reshape(len(chosen), settings.samples, *part.shape[1:]) for part in pictures]
    values = [targets.values(part).reshape(len(chosen), settings.samples, -1) for part in found]
    at = settings.levels.index(settings.level)
    others = targets.images("validation", len(validation)).part(pool, len(validation))
    real = (targets.images("train", len(learnt)), others)
    arrays, judged_by = _judged(place, settings, targets, made[0], real, pictures, device)
    arrays |= {
        "levels": np.array(settings.levels),
        "level": np.array([at]),
        "candidates": pack(names),
        "factors": pack(targets.factors),
        "factor": np.stack(values).astype(np.float16),
        "source": chosen,
        "distance": np.stack([mirrors.distances(part, made) for part in by_source]),
        "label": validation.label[chosen].astype(np.int16),
        "read_out": _read_out(
            to_learn, targets.values(truth), known[pool:], targets.values(vectors.cpu().numpy()), settings.levels
        ),
        "held_out": _held_out(generator, vectors, known[pool:], index, settings.levels),
        "picture": by_source[at][:KEPT],
        "original": made[0][:KEPT],
    }
    provenance = place.provenance(
        __name__,
        [token, data, settings],
        images=digest(hashes(made[0]).tolist()),
        weights=weights,
        inputs=inputs | {f"checkpoints/{settings.judge}": judged_by, f"checkpoints/{model}": weights},
        libraries=LIBRARIES,
    )
    store.write_arrays(place.path("samples", token, model), SAMPLES, arrays, provenance)


def _sources(
    targets: Targets, settings: SamplingParams, pool: int
) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.uint8]]:
    """Which of the first validation images are sampled from, (n,), and their candidates, names and (c, n, s, s, 3)."""
    names, made = targets.candidates(pool)
    chosen = np.flatnonzero(mirrors.asymmetry(made) >= settings.asymmetry)[: settings.sources]
    if len(chosen) < 2:
        seen, expected = f"{len(chosen)} of {pool} validation images differ so much from their mirror images", "two or more"
        raise InvalidInput("params.yaml", field="sampling.asymmetry", seen=seen, expected=expected)
    return chosen, names, made[:, chosen]


def _generator(
    place: Place, settings: GenerationParams, token: str, shares: NDArray[np.float32], weights: str, model: str
) -> tuple[Generator, dict[str, str]]:
    """The profile's generator, and its SHA-256 by its name. Raises InvalidInput where it knows another checkpoint."""
    path, sampled = place.path("generator", token), sorted(place.settings.sampled)
    step = f"run dvc repro -s generate@{place.profile}-{token}"
    if not path.is_file():
        raise MissingArtifact(path, "no generator was trained", next_step=step)
    # Its shape is not known before it is read: each model has a first layer of its own width.
    with safe_open(path, "np") as file:
        count = sum(re.fullmatch(r"mean_\d+", name) is not None for name in file.keys())  # noqa: SIM118
        widths = [file.get_slice(f"mean_{i}").get_shape()[0] for i in range(count)]
    generator = Generator(widths, settings, torch.from_numpy(shares))
    arrays = checkpoint.load(path, generator)
    known = {name.removeprefix("checkpoints/"): sha256 for name, sha256 in arrays.provenance.inputs.items()}
    if sorted(known) != sampled:
        seen, expected = ", ".join(sorted(known)), f"features of {', '.join(sampled)}"
        raise InvalidInput(path, field="models", seen=seen, expected=expected, next_step=step)
    if known[model] != weights:
        raise InvalidInput(path, field=f"checkpoints/{model}", seen=known[model], expected=weights, next_step=step)
    return generator, {f"generator/{token}": arrays.sha256}


def _drawn(
    generator: Generator, known: Tensor, index: int, settings: SamplingParams, batch: int
) -> Iterator[NDArray[np.float32]]:
    """Vectors (sources x samples, d) at each level, source by source, from a model's standardised features (sources, width)."""
    fixed = torch.Generator().manual_seed(settings.seed)
    given = known.repeat_interleave(settings.samples, 0)
    noise = torch.randn(len(given), len(generator.get_buffer("mean_vector")), generator=fixed).to(known.device)
    shaken = torch.randn(given.shape, generator=fixed).to(known.device)
    for level in tqdm(settings.levels, unit="level", disable=not sys.stderr.isatty()):
        parts = zip((given + level * shaken).split(batch), noise.split(batch), strict=True)
        found = [generator.sample(one, index, level, start, steps=settings.steps) for one, start in parts]
        yield torch.cat(found).cpu().numpy()


def _judged(
    place: Place,
    settings: SamplingParams,
    targets: Targets,
    sources: NDArray[np.uint8],
    real: tuple[Images, Images],
    made: list[NDArray[np.uint8]],
    device: str,
) -> tuple[dict[str, NDArray[np.generic]], str]:
    """As the judge has them: classes of sources and of samples by level, by 20-NN among training images, how far samples
    are from other images, and the SHA-256 of its checkpoint.

    real: training images to learn from, and other validation images. Both are as small as the samples are.
    """
    knn, train = place.settings.knn, real[0]
    parts = [*(part.read(np.arange(len(part))) for part in real), sources, *made]
    every = np.concatenate(parts)
    own = Images(np.zeros(len(every), np.int64), train.classes, lambda index: targets.enlarged(every[index]))
    features, sha256 = final_features(place, settings.judge, own, device=device)
    bank, seen, *asked = np.split(features, np.cumsum([len(part) for part in parts])[:-1])
    answer = classify(
        torch.from_numpy(bank),
        torch.from_numpy(train.label),
        torch.from_numpy(np.concatenate(asked)),
        classes=train.classes,
        k=knn.k,
        temperature=knn.temperature,
    ).numpy()
    return {
        "source_class": answer[: len(sources)].astype(np.int16),
        "sample_class": answer[len(sources) :].reshape(len(made), len(sources), -1).astype(np.int16),
        "frechet": np.array([frechet(part, seen) for part in asked[1:]]),
        "frechet_floor": np.array([frechet(seen[::2], seen[1::2])]),
    }, sha256


def _held_out(
    generator: Generator, vectors: Tensor, given: Tensor, index: int, levels: tuple[float, ...]
) -> NDArray[np.float64]:
    shaken = torch.randn(given.shape, generator=torch.Generator().manual_seed(0)).to(given.device)
    return np.array([held_out(generator, vectors, given + level * shaken, index, level=level) for level in levels])


def _read_out(
    learnt: Tensor, truth: NDArray[np.float32], judged: Tensor, wanted: NDArray[np.float32], levels: tuple[float, ...]
) -> NDArray[np.float64]:
    """(level, factor): R2 of the factors by ridge regression on features with noise.

    learnt, judged: (n, width), standardised features of training and of validation images. truth, wanted: (n, factor), theirs.
    """
    features = [part.cpu().numpy() for part in (learnt, judged)]
    noise = [np.random.default_rng(i).normal(size=part.shape) for i, part in enumerate(features)]
    rows = []
    for level in levels:
        seen, other = (part + level * drawn for part, drawn in zip(features, noise, strict=True))
        found = Ridge(alpha=1.0).fit(seen, truth).predict(other)
        rows.append(r2_score(wanted, found, multioutput="raw_values"))
    return np.stack(rows)
