"""Checks across the fields of params.yaml: names that exist, sizes that fit, replicates that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.artifacts.errors import InvalidInput
from harness.params.images import ReaderData, ScenesData
from harness.params.models import FINETUNED, Embeddings, Model, Released
from harness.params.params import Params
from harness.params.profile import Profile
from harness.params.wording import pick

# Lists of models that need a network.
_DETECTED = ("detected", "detected_deeper", "detected_by_block", "detected_end_to_end")
_OF_NETWORKS = ("sweep_models", "finetuned", *_DETECTED, "segmented", "sampled")


def refuse_other_names(params: Params, name: str, profile: Profile) -> None:
    """A profile's `name` is its key, and its lists name models of the profile, each once."""
    where = f"profiles.{name}"
    if profile.name != name:
        raise InvalidInput("params.yaml", field=f"{where}.name", seen=profile.name, expected=name)
    for field, options in (
        ("models", params.models),
        ("references", profile.models),
        ("sweep_models", profile.models),
        ("finetuned", profile.models),
        ("detected", profile.models),
        ("detected_deeper", profile.models),
        ("detected_by_block", profile.detected_deeper),
        ("detected_end_to_end", profile.models),
        ("segmented", profile.models),
        ("sampled", [*profile.models, *(name + FINETUNED for name in profile.finetuned)]),
    ):
        names = getattr(profile, field)
        for model in names:
            pick(dict.fromkeys(options, 0), model, f"{where}.{field}")
        if len(set(names)) < len(names):
            raise InvalidInput("params.yaml", field=f"{where}.{field}", seen=", ".join(names), expected="each model once")
    for model in profile.models:
        params.weights(model, name)
    detection = profile.detection
    detected = tuple(model for field in _DETECTED for model in getattr(profile, field))
    trained = detection is None or detection.end_to_end is not None
    scenes = detection is not None and detection.world is not None
    drawn = profile.sampled and profile.generation is not None and profile.sampling is not None
    for key, asked, there, expected in (
        ("finetune", profile.finetuned, profile.finetune is not None, "a recipe to fine-tune by (Table A5)"),
        ("detection", detected, detection is not None, "parameters of a detector (Table 2)"),
        ("detection.end_to_end", profile.detected_end_to_end, trained, "how the backbone is trained (Table A7)"),
        (
            "segmentation",
            profile.segmented,
            profile.segmentation is not None and scenes,
            "parameters of a read-out, and detection, whose scenes it has",
        ),
        (
            "generation",
            profile.generated,
            drawn,
            "sampled, and parameters of a diffusion model and of its samples (Fig. 7)",
        ),
    ):
        if asked and not there:
            raise InvalidInput("params.yaml", field=f"{where}.{key}", seen=f"none for {', '.join(asked)}", expected=expected)
    if detection is not None and detected and detection.coco is not None and not detection.coco.root:
        field, seen = f"{where}.detection.coco.root", f"nothing, and detectors for {', '.join(detected)}"
        raise InvalidInput("params.yaml", field=field, seen=seen, expected="the folder of COCO 2017")
    if profile.generated and profile.sampling is not None:
        # Claims ask for samples from its features, and these depend on its checkpoint by that.
        pick(dict.fromkeys(profile.sampled, 0), profile.sampling.judge, f"{where}.sampling.judge")
    for model in profile.references:
        if params.models[model].family is None:
            raise InvalidInput("params.yaml", field=f"models.{model}.family", seen="none", expected="one, as references have")


def refuse_files(params: Params) -> None:
    """Released weights have a file or an address, and two addresses have two files."""
    address: dict[Path, str] = {}
    for name, model in params.models.items():
        for at, weights in model.weights.items():
            field = f"models.{name}.weights.{at}"
            if not isinstance(weights, Released):
                continue
            if not weights.file and not weights.url:
                raise InvalidInput("params.yaml", field=f"{field}.file", seen="nothing", expected="a file, or the url of one")
            if weights.url and address.setdefault(weights.path, weights.url) != weights.url:
                expected = f"a file of its own: {weights.path} is that of {address[weights.path]}"
                raise InvalidInput("params.yaml", field=f"{field}.file", seen=weights.url, expected=expected)


def refuse_embeddings(params: Params) -> None:
    """Embeddings are in no list that needs a network; every other model has a network."""
    for name, model in params.models.items():
        for at, weights in model.weights.items():
            profile = params.profiles[at]
            stands = [field for field in _OF_NETWORKS if name in getattr(profile, field)]
            field, seen, expected = f"models.{name}.architecture", str(model.architecture), ""
            if not isinstance(weights, Embeddings):
                expected = f"the name of a network, for weights.{at}" if model.architecture is None else ""
            elif model.architecture is not None:
                expected = f"null: weights.{at} are embeddings, which have no network"
            elif model.family is not None:
                field, seen, expected = f"models.{name}.family", model.family, "none: the paper's claims are about networks"
            elif stands:
                field, seen, expected = f"profiles.{at}.{stands[0]}", name, "models with a network"
            if expected:
                raise InvalidInput("params.yaml", field=field, seen=seen.replace("None", "null"), expected=expected)


def misfits(profile: Profile) -> Iterator[tuple[str, object, str]]:
    """Numbers that do not fit each other: key, seen, expected.

    A tail smaller than a minibatch would have to be dropped; so sizes are multiples of each other.
    """
    extract, similarity, sweep = profile.extract, profile.similarity, profile.sweep
    for key in ("images", "batch"):
        size = getattr(extract, key)
        if size % extract.minibatch:
            yield f"extract.{key}", size, f"a multiple of extract.minibatch, {extract.minibatch}"
    if extract.images > extract.queries:
        yield "extract.images", extract.images, f"at most extract.queries, {extract.queries}"
    if profile.knn.k > extract.bank:
        yield "knn.k", profile.knn.k, f"at most extract.bank, {extract.bank}"
    if similarity.k >= extract.images:
        yield "similarity.k", similarity.k, f"below extract.images, {extract.images}"
    if extract.images // similarity.subsets < 4:
        most = f"at most {extract.images // 4}: 4 of the {extract.images} extract.images in each (eq. 3 divides by n - 3)"
        yield "similarity.subsets", similarity.subsets, most
    generation, sampling = profile.generation, profile.sampling
    if generation is not None and sampling is not None and max(sampling.levels) > generation.largest_level:
        most = f"at most generation.largest_level, {generation.largest_level:g}"
        yield "sampling.levels", f"{max(sampling.levels):g}", most
    scenes = isinstance(profile.data, ScenesData)
    if generation is not None and (generation.side is None) != scenes:
        expected = "none: scenes are drawn as vectors" if scenes else "the side of the photographs that are drawn, in pixels"
        yield "generation.side", generation.side or "none", expected
    if generation is not None and generation.side and generation.side % 2 ** (generation.depth - 1):
        halved = generation.depth - 1
        yield "generation.side", generation.side, f"a multiple of {2**halved}: generation.depth halves it {halved} times"
    probe = profile.probe
    if probe.images > extract.bank:
        yield "probe.images", probe.images, f"at most extract.bank, {extract.bank}"
    kept = probe.images - round(probe.holdout * probe.images)
    if probe.batch > kept:
        yield "probe.batch", probe.batch, f"at most the {kept} images beside the hold-out"
    if probe.images >> probe.doublings < 2:
        yield "probe.doublings", probe.doublings, f"so few that at least 2 of {probe.images} images come first"
    if max(probe.warmups) >= min(probe.epochs):
        yield "probe.warmups", max(probe.warmups), f"below the fewest of probe.epochs, {min(probe.epochs)}"
    tried = len(probe.rates) * len(probe.decays) * len(probe.l1) * len(probe.warmups) * len(probe.epochs)
    if probe.best > tried:
        yield "probe.best", probe.best, f"at most the {tried} configurations"
    largest = max(sweep.minibatches)
    for i, size in enumerate(sweep.minibatches):
        if size < 4:
            yield f"sweep.minibatches.{i}", size, "at least 4 (eq. 3 divides by n - 3)"
        if largest % size:
            yield f"sweep.minibatches.{i}", size, f"a divisor of the largest, {largest}"
    for i, size in enumerate(sweep.images):
        if size % largest:
            yield f"sweep.images.{i}", size, f"a multiple of the largest of sweep.minibatches, {largest}"
    detection = profile.detection
    if detection is not None:
        if (detection.world is None) == (detection.coco is None):
            seen = "neither" if detection.world is None else "both"
            yield "detection", seen, "either world, of scenes, or coco, a folder of annotated images"
        elif detection.world is not None and not isinstance(profile.data, ScenesData):
            yield "detection.world", "scenes", "coco, a folder of annotated images, beside images on disk"
        if detection.masked > len(detection.levels):
            yield "detection.masked", detection.masked, f"at most {len(detection.levels)}, the number of detection.levels"
        if len(detection.levels) != len(detection.anchors):
            expected = f"one for each of detection.levels, {len(detection.levels)}"
            yield "detection.anchors", list(detection.anchors), expected
        if any(level not in (0.25, 0.5, 1, 2) for level in detection.levels):
            yield "detection.levels", list(detection.levels), "0.25, 0.5, 1 or 2 sides of a patch"
    data = profile.data
    if isinstance(data, ReaderData) and data.url and not data.root:
        yield "data.root", "nothing", "the folder that data.url unpacks to"
    if isinstance(data, ReaderData) and data.resize < data.size:
        yield "data.resize", data.resize, f"at least data.size, {data.size}: a crop beyond the image would be black there"


def refuse_other_recipe(params: Params, name: str, model: Model, first: Model) -> None:
    """A replicate differs from its model, and from the other replicates, in the seed alone; released weights have no seed."""

    def refuse(field: str, seen: object, expected: str) -> None:
        raise InvalidInput("params.yaml", field=f"models.{name}.{field}", seen=seen, expected=expected)

    if first.replicate_of is not None:
        refuse("replicate_of", model.replicate_of, f"a model, not a replicate: {first.replicate_of}?")
    for field in ("family", "architecture"):
        if getattr(model, field) != getattr(first, field):
            refuse(field, getattr(model, field), f"{getattr(first, field)}, as {model.replicate_of} has")
    for profile, weights in model.weights.items():
        other = first.weights.get(profile)
        if other is None or isinstance(weights, Released | Embeddings) or isinstance(other, Released | Embeddings):
            refuse(f"weights.{profile}", type(weights).__name__, f"a recipe, as {model.replicate_of} has one there")
            continue
        own, its = weights.model_dump(exclude={"seed"}), other.model_dump(exclude={"seed"})
        if own != its:
            differing = sorted(key for key in own.keys() | its.keys() if own.get(key) != its.get(key))
            seen = f"another recipe in {', '.join(differing)}"
            refuse(f"weights.{profile}", seen, f"that of {model.replicate_of} but for the seed")
        runs = (run for run in params.replicates(str(model.replicate_of), profile) if run != name)
        # Another replicate may be released weights, which have no seed and are refused in their own turn.
        seeds = {getattr(params.models[run].weights[profile], "seed", None): run for run in runs}
        if weights.seed in seeds:
            refuse(f"weights.{profile}.seed", f"{weights.seed}, as {seeds[weights.seed]} has", "a seed of its own")
