"""Planted worlds: evidence in which an effect is present by construction, and the same evidence with it taken away.

Every layer is a direction in a space of factors, each factor one U-centred Gram per minibatch, drawn at random. HSIC1 of
two layers is then the inner product of their Grams, as in a measurement, and its mean is the cosine of their directions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from harness.artifacts.tables import REGIONS, TYPES
from harness.evidence.claim import Inputs
from harness.evidence.decide import Decision, State, all_of
from harness.evidence.instrument import Instrument
from harness.evidence.panel import Panel
from harness.evidence.resampling import BLOCKS, DRAWS, HI, SEED, bootstrap_counts
from harness.params.models import FINETUNED, start_of
from harness.params.profile import END_TO_END
from harness.readings.accuracy import Accuracy
from harness.readings.agreement import Agreement, Agreements, Answers, MeasuredAnswers
from harness.readings.detection import Detection, DetectionAccuracy, MeasuredDetection
from harness.readings.finetune_path import FinetunePath
from harness.readings.invariance import Invariance
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.probes import MeasuredProbes, ProbeAccuracy, Probes
from harness.readings.samples import Generated, Samples
from harness.readings.segmentation import Segmentation
from harness.readings.sweep import Sweep

JE, REC, UNTRAINED, SUPERVISED = ["moco_v3", "dino"], ["mae"], ["random", "random_learned"], "supervised"
# Three pre-training runs of each method.
RUNS = {method: [method, f"{method}_1", f"{method}_2"] for method in (*JE, *REC)}
# Methods of one run, by which no measure is calibrated: MSN and CNNs of JE models' objectives, like those; a CNN of MAE's kind.
FURTHER = {name: [name] for name in ("msn", "moco_v3_resnet50", "dino_resnet50", "fcmae", "dino_nomc", "moco_v3_no_flip")}
METHOD = {run: method for method, runs in (RUNS | FURTHER).items() for run in runs}
UNTRAINED_CNNS = ["random_resnet50", "random_convnextv2"]
MODELS = [*(run for runs in RUNS.values() for run in runs), *UNTRAINED, SUPERVISED, *FURTHER, *UNTRAINED_CNNS]

# Lists of a profile that name models, or tokens, for the stages that its claims about CKA do not need.
OTHER_STAGES = ("segmented", "generated", "sampled", "detected", "detected_deeper", "detected_by_block", "detected_end_to_end")

MINIBATCHES, PAIRS = 32, 496  # pairs of images in a minibatch of 32
SUBSETS, WIDER = 16, 2016  # and in a subset of 64
IMAGES, QUERIES, PROBED, CLASSES = 400, 4000, 20_000, 10

# Half the depth is at 5.5; MAE runs through the first half of JE's depth in its first three blocks (Fig. 1).
JE_DEPTH = np.arange(12.0)
REC_DEPTH = np.concatenate([np.linspace(0, 5, 3), np.linspace(6, 11, 9)])
REACH = 4.0  # blocks over which layers stay alike
PIXEL_ACCURACY = 40.0  # 20-NN on raw pixels, %
PIXELS = 0.2  # every layer's cosine with the pixels
OWN = 0.95  # of what a method's layers do not share with others, the part that its runs have in common

# How much of a layer is common to all trained models. MAE's attention and norms have little of it (Fig. 2).
JE_SHARE = np.where(np.isin(np.arange(12), HI), 0.6, 0.97)
REC_SHARE = dict.fromkeys(TYPES, 0.5) | {"attn.qkv": 0.05, "norm1": 0.2, "mlp.fc1": 0.8}
# Fine-tuned, JE models keep their early and middle layers; MAE has them too, and parts from JE in its late fully connected
# ones (Fig. 9, A3).
JE_TUNED = np.where(np.isin(np.arange(12), HI), 0.3, 0.97)
REC_TUNED = dict.fromkeys(TYPES, np.full(12, 0.95)) | {"mlp.fc1": np.where(np.isin(np.arange(12), HI), 0.05, 0.72)}


@cache
def directions(kind: str = "effect") -> dict[str, np.ndarray]:
    """Unit vectors (type, 12, factor) of every model; factor 0 is the pixels, whose similarity all images have.

    Then come the factors common to trained models, those of each method, and those of each run.

    kind: "effect"; or "pixels", where models have nothing but the pixels in common.
    """
    types, blocks = len(TYPES), len(BLOCKS)
    # Vectors whose cosine falls with the distance in depth, on a grid of all depths that some model has.
    grid = np.unique(np.concatenate([JE_DEPTH, REC_DEPTH]))
    common = np.linalg.cholesky(np.exp(-abs(grid[:, None] - grid[None, :]) / REACH))
    methods = [*RUNS, *FURTHER]
    width = 1 + types * len(grid) + (len(methods) + len(MODELS)) * types * blocks
    out = {}
    # What is the run's own stays so in fine-tuning.
    for model, m in [(model, m) for m, start in enumerate(MODELS) for model in (start, start + FINETUNED)]:
        v = np.zeros((types, blocks, width))
        method, tuned = METHOD.get(start_of(model)), model != start_of(model)
        depth = REC_DEPTH if method in REC and not tuned else JE_DEPTH
        for t, name in enumerate(TYPES):
            for block in range(blocks):
                rec = REC_TUNED[name][block] if tuned else REC_SHARE[name]
                share = 0.0 if method is None else rec if method in REC else (JE_TUNED if tuned else JE_SHARE)[block]
                loading = 0.9 if kind == "pixels" else PIXELS
                share = 0.0 if kind == "pixels" else share
                rest = np.sqrt(1 - loading**2)
                start = 1 + t * len(grid)
                v[t, block, 0] = loading
                v[t, block, start : start + len(grid)] = rest * share * common[np.searchsorted(grid, depth[block])]
                alone, of_method = rest * np.sqrt(1 - share**2), OWN if method and kind != "pixels" else 0.0
                place = 1 + types * len(grid) + t * blocks + block
                v[t, block, place + (len(methods) + m) * types * blocks] = alone * np.sqrt(1 - of_method**2)
                if method:
                    v[t, block, place + methods.index(method) * types * blocks] = alone * of_method
        out[model] = v
    # CNNs are like the ViT of their objective near and far: JE ones nearer, the REC one alike at all distances (Fig. 3).
    for cnn, vit, at_its_own_depth in (("moco_v3_resnet50", "moco_v3", 1), ("dino_resnet50", "dino", 1), ("fcmae", "mae", 0)):
        v = at_its_own_depth * out[vit] + 2 * out[vit].mean(axis=1, keepdims=True) * np.ones((1, blocks, 1))
        out[cnn] = v / np.linalg.norm(v, axis=-1, keepdims=True)
    return out


@cache
def grams(units: int, size: int, seed: int, width: int) -> np.ndarray:
    """One Gram per unit and factor, (unit, factor, size), with mean squared norm 1."""
    return np.random.default_rng(seed).normal(size=(units, width, size)).astype(np.float32) / np.sqrt(size)


@cache
def layers(model: str, kind: str, seed: int) -> np.ndarray:
    """A model's Grams over minibatches, (type, minibatch, block, pair), of the factors that it has."""
    v = directions(kind)[model]
    own = v.any(axis=(0, 1))
    return np.einsum("tbf,kfp->tkbp", v[..., own], grams(MINIBATCHES, PAIRS, seed, v.shape[-1])[:, own], optimize=True)


@cache
def pair(a: str, b: str, kind: str = "effect", *, permuted: bool = False) -> Pair:
    """The CKA evidence of two models over minibatches."""
    # Permuted images: the second model's Grams are those of other images.
    x, y = layers(a, kind, 0), layers(b, kind, int(permuted))
    pixels = grams(MINIBATCHES, PAIRS, 0, directions(kind)[a].shape[-1])[:, 0].astype(np.float64)
    return Pair(
        cross=np.einsum("tkap,tkbp->tkab", x, y, optimize=True),
        self_a=(x**2).sum(-1),
        self_b=(y**2).sum(-1),
        images="planted",
        pixels_a=np.einsum("tkap,kp->tka", x, pixels, optimize=True),
        pixels_b=np.einsum("tkap,kp->tka", y, pixels, optimize=True),
        pixels=(pixels**2).sum(-1),
        names=(a, b),
    )


@cache
def tokens(model: str, token: str) -> np.ndarray:
    """A model's Grams of CLS or GAP features over subsets of the images, (subset, block, pair)."""
    # Of all factors only those that some model's blocks have.
    used = np.any([v[-1].any(axis=0) for v in directions().values()], axis=0)
    v = directions()[model][-1][:, used]
    factors = grams(SUBSETS, WIDER, 2 if token == "cls" else 3, v.shape[-1])
    return np.stack([v.astype(np.float32) @ each for each in factors])


@cache
def subsets(a: str, b: str, token: str) -> Pair:
    """The debiased CKA evidence of two models' CLS or GAP features over subsets of the images."""
    x, y = (tokens(model, token).astype(np.float64) for model in (a, b))
    own = [(each**2).sum(-1)[None] for each in (x, y)]
    return Pair((x @ y.swapaxes(1, 2))[None], *own, "planted", names=(a, b), types=(token,), unit="subsets")


@cache
def deconfounded(a: str, b: str) -> Pair:
    """The CKA evidence of two models over minibatches, net of the pixels."""
    return pair(a, b).deconfounded()


@cache
def neighbourhoods(a: str, b: str) -> Neighbourhoods:
    """Shares of ten neighbours that two models have in common: the cosine of the blocks' directions, on average."""
    v, w = (directions()[m][-1] for m in (a, b))
    chance = np.einsum("bf,bf->b", v, w)
    rng = np.random.default_rng([4, *sorted((MODELS.index(start_of(a)), MODELS.index(start_of(b))))])
    share = rng.binomial(10, chance[:, None], (len(BLOCKS), IMAGES)) / 10
    return Neighbourhoods(np.stack([share, share]), "planted")


@cache
def knn(model: str) -> Accuracy:
    """Votes whose accuracy by block follows Fig. 4: JE rises to its probe, in CLS above all; MAE parts from it and falls."""
    climb = np.linspace(0, 1, 12)
    cls, gap, probe = 20 + 50 * climb, 20 + 30 * climb, 70.0
    if METHOD.get(model) in REC:
        fall = 1.5 * np.maximum(np.arange(12) - 2, 0)
        cls, gap, probe = np.minimum(cls, cls[2]) - fall, np.minimum(gap, gap[2]) - fall, 55.0
    elif model in UNTRAINED:
        # Below what the first blocks of a trained network hold already.
        cls, gap, probe = np.full(12, 12.0), np.full(12, 12.0), 25.0
    elif model == SUPERVISED:
        cls, gap, probe = 20 + 75 * climb, 20 + 60 * climb, 96.0
    # The same images are easy for all models and at all depths: the pairing that real outcomes have.
    ease = np.random.default_rng(5).uniform(size=QUERIES)
    own = np.random.default_rng([6, MODELS.index(model)]).normal(scale=0.02, size=(2, 13, QUERIES))
    level = np.array([[*curve, curve[-1]] for curve in (cls, gap)]) / 100
    right = ease + own < level[:, :, None]
    neighbours = right[0, -1] ^ (np.random.default_rng([7, MODELS.index(model)]).uniform(size=QUERIES) < 0.002)
    if METHOD.get(model) in REC:
        # What neighbours in CLS do not show, a probe finds.
        neighbours = ease < (probe - 5) / 100
    return Accuracy(right, ease < probe / 100, neighbours, "planted")


@cache
def finetune_path(model: str) -> FinetunePath:
    """Attention of MAE goes far and straight, that of JE models stays near where it was and turns often (Fig. 11)."""
    rng = np.random.default_rng([12, MODELS.index(model)])
    straight, far = (0.8, 0.5) if METHOD.get(model) in REC else (0.5, 0.1)
    start, moved = rng.uniform(9, 11, 12), far + rng.normal(scale=0.005, size=12)
    return FinetunePath(moved * start, moved * start / (straight + rng.normal(scale=0.02, size=12)), start)


@cache
def probe_accuracy(model: str) -> ProbeAccuracy:
    """Probes as Table 1, Figs. 5 and 6 have them: MAE gains by a block, by all of them and by depth, JE models hardly any."""
    method, tuned = METHOD.get(start_of(model)), model != start_of(model)
    by_method = {"moco_v3": 76.3, "dino": 77.8, "mae": 67.7, "msn": 77.0, "moco_v3_no_flip": 72.0}
    final = by_method.get(method or "", 30.0) + 10.0 * tuned
    # Fine-tuned, MAE gains from other blocks as little as JE models do (Fig. 12).
    rec = method in REC and not tuned
    gains = {"final": 0.0, "all": 2.4 if rec else -0.8, "depth2": 0.6 if rec else 0.3}
    gains |= {"depth3": 1.4 if rec else 0.2, "depth4": 1.2 if rec else 0.1, "depth5": 1.0 if rec else 0.0}
    gains |= {f"final+{i}": (1.8 if i == 7 else 0.5) if rec else 0.1 for i in range(11)} | {"final+11": 0.0}
    gains |= {f"projected{i}": (2.0 if rec else -0.6) + 0.1 * i for i in range(3)}
    # The same images are easy for all probes of a model, and nearly the same for all models.
    ease = np.random.default_rng(5).uniform(size=PROBED)
    own = np.random.default_rng([10, MODELS.index(start_of(model))]).normal(scale=0.005, size=PROBED)
    order = np.argsort(np.argsort(ease + own)) / PROBED
    right = {name: np.stack([order < (final + more + 0.02 * run) / 100 for run in range(5)]) for name, more in gains.items()}
    # The same labels are dear for all probes.
    dear = np.random.default_rng(12).gamma(4.0, 0.1, size=IMAGES)
    code = {"final": dear, "all": dear * (0.9 if rec else 1.05)}
    return ProbeAccuracy(right, {name: final + more for name, more in gains.items()}, model, "planted", code)


@cache
def agreement(a: str, b: str) -> Agreement:
    """Rankings of JE models are alike, those of MAE less, beyond what accuracy gives; runs of one method are like JE models."""
    rng = np.random.default_rng([11, *sorted((MODELS.index(a), MODELS.index(b)))])
    method = [METHOD.get(name) for name in (a, b)]
    near = None not in method and (method[0] == method[1] or "mae" not in method)
    level = 0.7 if near else 0.4 if None not in method else 0.1
    tau = np.clip(level + rng.normal(scale=0.2, size=(2, IMAGES)), -1, 1)
    ease = np.random.default_rng(5).uniform(size=(3, IMAGES))
    label = np.arange(IMAGES) % CLASSES
    # Where an image is hard, models of one kind give the same wrong answer.
    answers = []
    for name in method:
        wrong = (label + 1 + (name == "mae")) % CLASSES
        answers.append(np.where(ease[0] < {"mae": 0.6}.get(name or "", 0.75), label, wrong))
    return Agreement(tau, np.full((2, IMAGES), 0.05), label, answers[0], answers[1], "planted")


def detectors(of: Callable[[str, str], DetectionAccuracy]) -> dict[tuple[str, str], Callable[[], DetectionAccuracy]]:
    """Two detectors, read as `of` has them."""
    return {name: partial(of, *name) for name in ((UNTRAINED[0], "final"), ("mae", END_TO_END))}


@cache
def detection(model: str, layers: str) -> DetectionAccuracy:
    """AP as Tables 2 and A6 and Fig. 8 have it: MAE above JE models on the whole and on small objects, below them on large
    ones; DINO with multi-crop above MAE; further layers help all.
    """
    method = METHOD.get(start_of(model))
    by_method = {"mae": (30, 20, 35), "moco_v3": (27, 16, 38), "dino": (33, 22, 40), "dino_nomc": (28, 17, 38)}
    overall, small, large = by_method.get(method or "", (12, 8, 14))
    if layers == END_TO_END:
        # MAE leads on all sizes (Table A7).
        overall, small, large = {"mae": (51, 35, 66), "moco_v3": (48, 32, 64), "dino": (47, 32, 62)}.get(
            method or "", (40, 25, 55)
        )
    level = np.array([overall, overall + 20, overall - 5, small, overall, large]) + (2 if layers == "final+9+10" else 0)
    rng = np.random.default_rng([13, MODELS.index(start_of(model))])
    ease = np.random.default_rng(14).normal(scale=20, size=IMAGES)
    # The mean over images is the level itself, but for what differs from run to run.
    noise = rng.normal(scale=1, size=(2, 6, IMAGES))
    own = (
        level[None, :, None]
        + ease
        - ease.mean()
        + noise
        - noise.mean(2, keepdims=True)
        + rng.normal(scale=0.05, size=(2, 6, 1))
    )
    counts = np.concatenate([np.ones((1, IMAGES)), bootstrap_counts(SEED, IMAGES, DRAWS), 1.0 - np.eye(IMAGES)])
    return DetectionAccuracy(np.einsum("rn,tsn->tsr", counts / counts.sum(1, keepdims=True), own) / 100, "planted")


@cache
def invariance(model: str) -> Invariance:
    """Under a flip JE models hardly move, and MAE moves as far as to another image until it is fine-tuned (Fig. 7, A7). So does
    MoCo-v3 that never saw a mirrored view.
    """
    method = METHOD.get(start_of(model))
    still = method is not None and (method not in (*REC, "moco_v3_no_flip") or model != start_of(model))
    rng = np.random.default_rng([15, MODELS.index(start_of(model)), len(model)])
    ease = np.random.default_rng(16).uniform(0.5, 1.5, size=IMAGES)
    # The mean over images is the level itself, but for what differs from run to run.
    level = (0.05 if still else 0.9) + rng.normal(scale=0.005, size=(1, 2, 1))
    noise = rng.normal(scale=0.01, size=(1, 2, IMAGES))
    own = level * ease / ease.mean() + noise - noise.mean(2, keepdims=True)
    return Invariance(("flip",), ("cls", "gap"), own, np.ones((2, IMAGES)), np.ones((1, 2, IMAGES)), "planted")


@cache
def segmentation(model: str) -> Segmentation:
    """Of 100 pixels of masks in an image, 80 are read out of MAE's patch tokens and 60 out of those of JE models (Table 2)."""
    rng = np.random.default_rng([23, MODELS.index(model)])
    level = 80 if METHOD.get(model) in REC else 60
    union = np.full((12, len(REGIONS), IMAGES), 100.0)
    noise = rng.integers(-5, 6, size=union.shape)
    return Segmentation(level + noise - noise.mean(2, keepdims=True), union, "planted")


@cache
def samples(model: str) -> Samples:
    """Half of the samples from JE features and from fine-tuned ones are mirrored, hardly one of MAE's (Fig. 7, A7)."""
    method = METHOD.get(start_of(model))
    either = method is not None and (method not in REC or model != start_of(model))
    rng = np.random.default_rng([21, MODELS.index(start_of(model)), len(model)])
    # Each source has the same number of mirrored samples but for one, so that the share over sources is the level itself.
    per_source = 100
    count = (50 if either else 3) + rng.integers(-2, 3, size=IMAGES)
    mirrored = np.arange(per_source) < count[:, None]
    near, away = np.full((IMAGES, per_source), 100.0), np.full((IMAGES, per_source), 400.0)
    distance = np.stack([np.where(mirrored, away, near), np.where(mirrored, near, away)], 2)
    kept = np.arange(per_source) < (97 + rng.integers(-1, 2, size=IMAGES))[:, None]
    own = np.ones(IMAGES, int)
    # All samples of a source have its place in x.
    factor = np.repeat(rng.normal(size=(IMAGES, 1)), per_source, 1)[:, :, None]
    return Samples(distance, ("source", "mirror"), kept.astype(int), own, own, factor, ("x",), np.array([0.9]), "planted")


@cache
def sweep() -> Sweep:
    """CKA that does not depend on the sizes, and of biased HSIC that does."""
    rng = np.random.default_rng(8)
    level = rng.uniform(0.2, 0.9, size=10)
    batch, count = (level + rng.normal(scale=0.004, size=(8, sizes, 10)) for sizes in (6, 4))
    shrinking = (1 - level) * (32 / np.array([32, 64, 128, 256, 512, 1024]))[:, None]
    return Sweep(batch, np.minimum(batch + 0.8 * shrinking, 1.0), count, "planted")


def decided_by_runs(disagree: int, findings: int = 12) -> dict[str, list[State]]:
    """Main findings that hold on three runs, but for the first ones, on whose runs they disagree."""
    S, R = State.SUPPORTED, State.REFUTED
    return {f"finding-{i}": [S, R if i < disagree else S, S] for i in range(findings)}


@dataclass(frozen=True, eq=False)
class World:
    """What the claims' fixtures give in a planted world; controls replace some of it."""

    cka: Callable[[str, str], Any] = pair
    deconfounded: Callable[[str, str], Any] = deconfounded
    mutual: Callable[[str, str], Any] = neighbourhoods
    cls: Callable[[str, str], Any] = field(default=lambda a, b: subsets(a, b, "cls"))
    gap: Callable[[str, str], Any] = field(default=lambda a, b: subsets(a, b, "gap"))
    knn: Callable[[str], Accuracy] = knn
    probes: Probes = field(default_factory=lambda: MeasuredProbes(probe_accuracy))
    agreements: Agreements = agreement
    answers: Answers = field(default_factory=lambda: MeasuredAnswers(agreement))
    sweep: Sweep = field(default_factory=sweep)
    detection: Detection = field(default_factory=lambda: MeasuredDetection(detection, UNTRAINED, detectors(detection)))
    detection_end_to_end: Detection = field(
        default_factory=lambda: MeasuredDetection(detection, UNTRAINED, detectors(detection), END_TO_END)
    )
    finetune_path: Callable[[str], FinetunePath] = finetune_path
    invariance: Callable[[str], Invariance] = invariance
    generated: Generated = field(default_factory=lambda: Generated(samples, SUPERVISED))
    je: Sequence[str] = tuple(JE)
    rec: Sequence[str] = tuple(REC)
    untrained: Sequence[str] = tuple(UNTRAINED)
    findings: Mapping[str, Sequence[State]] = field(default_factory=lambda: decided_by_runs(disagree=1))
    source: str = "planted"
    runs: Mapping[str, Sequence[str]] = field(default_factory=lambda: RUNS)

    def mapped(self, change: Callable[[Any], Any]) -> World:
        """The world with every pair changed."""
        return self.remade(lambda measure: lambda a, b: change(measure(a, b)))

    def remade(self, change: Callable[[Callable[[str, str], Any]], Callable[[str, str], Any]]) -> World:
        """The world with every measure of pairs changed."""
        return replace(self, **{name: change(getattr(self, name)) for name in MEASURES})


MEASURES = ("cka", "deconfounded", "mutual", "cls", "gap")


@lru_cache(maxsize=2)
def instrument(world: World) -> Instrument:
    """A world's instrument, which keeps what it has found of the measures for all claims about that world."""
    measures = {name: getattr(world, name) for name in MEASURES}
    rebuilt = [*REC, "mae_1", "mae_2", "fcmae"]
    return Instrument(measures, world.knn, world.runs, list(world.untrained), [SUPERVISED], rebuilt, lambda: PIXEL_ACCURACY)


@lru_cache(maxsize=256)
def values_of(found: Any) -> Any:
    """The same evidence with one draw, which the nulls of many claims ask for."""
    return replace(found, draws=1)


def on_panel(claim: Callable[..., Any], world: World) -> tuple[Decision, Inputs]:
    """Decide a claim as the plugin does: on the world's replicates, its nulls and its instrument."""
    inputs = Inputs(world.source)

    def cast(measure: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
        def play(a: str, b: str) -> Any:
            found = measure(inputs.model_of(a), inputs.model_of(b))
            # As the claims' own fixtures do where only values are asked for.
            return values_of(found) if inputs.values_only else found

        return play

    probes = world.probes
    detected, trained = world.detection, world.detection_end_to_end
    assert isinstance(probes, MeasuredProbes)
    assert isinstance(detected, MeasuredDetection)
    assert isinstance(trained, MeasuredDetection)
    playing = replace(
        world.remade(cast),
        knn=lambda model: world.knn(inputs.model_of(model)),
        finetune_path=lambda model: world.finetune_path(inputs.model_of(model)),
        invariance=lambda model: world.invariance(inputs.model_of(model)),
        generated=Generated(lambda model: world.generated.of(inputs.model_of(model)), world.generated.judge),
        probes=MeasuredProbes(lambda model: probes.of(inputs.model_of(model))),
        detection=replace(detected, of=lambda model, layers: detected.of(inputs.model_of(model), layers)),
        detection_end_to_end=replace(trained, of=lambda model, layers: trained.of(inputs.model_of(model), layers)),
        agreements=cast(world.agreements),
        answers=MeasuredAnswers(cast(world.agreements)),
    )

    def run(assignment: Mapping[str, str], margin: float | None, *, values_only: bool = False) -> Decision:
        inputs.assignment, inputs.values_only = assignment, values_only
        return judge(claim, playing, margin)

    return Panel(instrument(world), FURTHER).decide(claim.claim, run, inputs, inspect.signature(claim).parameters), inputs


def judge(claim: Callable[..., Any], world: World, margin: float | None) -> Decision:
    """Call a claim's function with the world's fixtures."""
    given: Mapping[str, Any] = {name: getattr(world, name) for name in World.__dataclass_fields__} | {"margin": margin}
    answer = claim(**{name: given[name] for name in inspect.signature(claim).parameters})
    return answer if isinstance(answer, Decision) else all_of(list(answer))
