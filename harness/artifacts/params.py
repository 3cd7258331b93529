"""params.yaml: every number that a measurement depends on, checked before anything runs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.recipes import AnyRecipe, FinetuneRecipe
from harness.artifacts.strict import Count, Positive, Strict, Unit

T = TypeVar("T")
Family = Literal["je", "rec", "supervised", "random"]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
# What a fine-tuned model is called: the name of the one that it started as, and this.
FINETUNED = "_ft"


class SceneParams(Strict):
    """How a scene is composed. Lengths are in pixels of the canvas; scale is the sprite's side over the canvas side.

    background: range of its two colours' grey levels, of 255. contrast: by how much the object is lighter than their mean.
    tint: how far a colour channel strays from grey. negatives: half of the scenes are photographic negatives, which blinds
    similarity measures: that one bit is then most of what images differ in.
    """

    size: int = Field(ge=8)
    objects: tuple[int, int] = (1, 1)
    scale: tuple[float, float] = (0.7, 1.0)
    jitter: float = Field(default=0.5, ge=0, le=1)
    tilt: float = Field(default=0.2, ge=0, lt=1)
    background: tuple[float, float] = (118.0, 138.0)
    contrast: tuple[float, float] = (60.0, 110.0)
    negatives: bool = False
    noise: int = Field(default=6, ge=0, le=64)
    tint: float = Field(default=40.0, ge=0, le=128)
    flip: bool = True
    seed: int = Field(default=0, ge=0)


class ScenesData(Strict):
    """The embedded world: sprites from a source, composed into scenes, `train` of them to learn from."""

    kind: Literal["scenes"]
    sprites: Literal["digits", "mnist", "fashion_mnist"]
    root: str = ""
    world: SceneParams
    train: Count
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[Positive, Positive, Positive] = (0.25, 0.25, 0.25)

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return self.world.size


class Download(Strict):
    """A file that somebody published: the address that `python -m harness fetch` gets it from, its SHA-256 and licence.

    Without a SHA-256 that of an address is kept in weights.lock when it is first fetched; that of a file must be said.
    """

    url: str = Field(default="", pattern=r"^(https?://[^\s/]+/\S*[^\s/])?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    licence: str = ""

    @property
    def path(self) -> Path:
        """Where the file lies: under weights/, by the last part of the address."""
        return Path("weights", urlsplit(self.url).path.rpartition("/")[2])


class ReaderData(Download):
    """Image files on disk. root: the folder of the splits; in a split's folder, the first folder is the class.

    reader: "" or "folder", which mean the same. train_split, validation_split: the splits' folders below the root.
    url: of the tar archive that holds the root's folder. sha256, licence: of the archive.
    """

    kind: Literal["reader"]
    reader: str
    root: str
    train_split: str = "train"
    validation_split: str = "validation"
    resize: Count = 256
    size: Count = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)

    @property
    def path(self) -> Path:
        """Where the archive lies until it is unpacked: beside the root."""
        return Path(self.root).parent / super().path.name


class Architecture(Strict):
    """A timm network: its name and what timm.create_model takes beside it."""

    name: str
    options: dict[str, int | float | bool | str | tuple[int, ...]] = Field(default_factory=dict)


class ExtractParams(Strict):
    """One forward per model over `queries` validation images, the first `images` of them in minibatches for CKA,
    and over `bank` training images for k-NN and probes. seed draws them from a larger data set. batch: images a forward.
    """

    images: Count
    minibatch: Annotated[int, Field(ge=4)]
    bank: Count
    queries: Count
    seed: int = Field(ge=0)
    batch: Count


class KnnParams(Strict):
    """Weighted k-NN: neighbours, and the temperature of their votes. probe: inverse penalty of the linear probe.

    images: the first of the lists, on which the linear probe is fitted and raw pixels are compared; all of them without it.
    """

    k: Count
    temperature: Positive
    probe: Positive
    images: Count | None = None


class ProbeParams(Strict):
    """Probes on frozen features (Table A4): the cross product of rates (for 256 images), decays, l1, warmups and epochs.

    images: the first of the bank's training images, the last `holdout` share of which chooses. views: crops and flips of each,
    seen in turn; with 0 it is the images as they are, which costs no forward. depths: of the probes deeper than linear.
    best: how many configurations are trained anew and reported. projections: random ones of all layers to one's width.
    doublings: of the images whose labels are coded by what is learnt from those before (minimum description length).
    """

    images: Count
    views: Annotated[int, Field(ge=0)]
    crop: tuple[Positive, Unit]
    rates: Annotated[tuple[Positive, ...], Field(min_length=1)]
    decays: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    l1: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    warmups: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    epochs: Annotated[tuple[Count, ...], Field(min_length=1)]
    batch: Annotated[int, Field(ge=2)]
    depths: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3, 4, 5)
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    best: Count = 5
    projections: Count = 3
    doublings: Count = 4
    seed: int = Field(default=0, ge=0)


class SimilarityParams(Strict):
    """Second opinions on CKA: neighbours of mutual k-NN, and disjoint subsets of the images for debiased CKA."""

    k: Count
    subsets: Annotated[int, Field(ge=2)]


class SweepParams(Strict):
    """Fig. A1: CKA of `layers` random layers of two models at each minibatch size over as many images as the largest, and
    at each image count in minibatches of the first size, again on each of `subsets` disjoint sets of images.
    """

    layers: Count
    minibatches: Annotated[tuple[Count, ...], Field(min_length=1)]
    images: Annotated[tuple[Count, ...], Field(min_length=1)]
    subsets: Annotated[int, Field(ge=2)]
    seed: int = Field(ge=0)


class Profile(Strict):
    """A named scale: data, networks, sizes, budgets.

    name: the profile's own. models: those that are measured, which are those with weights here. references: what each of
    them is compared with. sweep_models: the two of Fig. A1. anchors: by model, 20-NN accuracy in percent of its final CLS
    token as others published it for the same weights and images. finetuned: those that are fine-tuned as well, by `finetune`,
    and measured again: mae and then mae_ft.
    """

    name: Key
    models: Annotated[tuple[Key, ...], Field(min_length=1)]
    references: Annotated[tuple[Key, ...], Field(min_length=2)]
    sweep_models: tuple[Key, Key]
    data: Annotated[ScenesData | ReaderData, Field(discriminator="kind")]
    architectures: dict[Key, Architecture]
    extract: ExtractParams
    knn: KnnParams
    probe: ProbeParams
    similarity: SimilarityParams
    sweep: SweepParams
    anchors: dict[Key, Annotated[float, Field(gt=0, lt=100)]] = Field(default_factory=dict)
    finetuned: tuple[Key, ...] = ()
    finetune: FinetuneRecipe | None = None


class Released(Download):
    """Weights that somebody published: a local file or an address, and the layout that it has.

    timm: the name of pretrained weights of timm, such as vit_base_patch16_224.dino. hub: owner/name of a model on the Hugging
    Face hub. Either is short for the address of that model's safetensors file, at HF_ENDPOINT where it is set.
    key, prefix: in the place of a layout, the dictionary in the file (teacher, or [state_dict, ema] for one in another) and
    what the backbone's names begin with there, such as backbone. or module.
    """

    file: str = ""
    layout: Literal["plain", "mae", "moco_v3", "dino", "msn"] = "plain"
    timm: str = Field(default="", pattern=r"^([\w-]+\.[\w-]+)?$")
    hub: str = Field(default="", pattern=r"^(\w[\w.-]*/\w[\w.-]*)?$")
    key: tuple[str, ...] = ()
    prefix: str = ""

    @field_validator("key", mode="before")
    @classmethod
    def _one_key(cls, raw: Any) -> Any:
        return (raw,) if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.key or self.prefix) and self.layout != "plain":
            raise ValueError(f"key and prefix in the place of a layout, not beside layout: {self.layout}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_the_hub(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not (raw.get("timm") or raw.get("hub")):
            return raw
        named = [key for key in ("url", "timm", "hub") if raw.get(key)]
        if len(named) > 1:
            raise ValueError(f"one of {', '.join(named)}")
        repository = raw.get("hub") or f"timm/{raw['timm']}"
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        # All models of the hub have files of one name.
        file = raw.get("file") or f"weights/{str(repository).replace('/', '--')}.safetensors"
        return {**raw, "url": f"{endpoint}/{repository}/resolve/main/model.safetensors", "file": file}

    @property
    def path(self) -> Path:
        """Where the file lies: as said, or by its address."""
        return Path(self.file) if self.file else super().path


class Embeddings(Strict):
    """In the place of weights, what somebody's network handed on of the profile's images: an .npz file as `python -m harness
    images` says, and its SHA-256.
    """

    features: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self.features)


def _kind(value: Any) -> str:
    """A recipe has an objective, embeddings have features, a released file neither: slips are looked for in the right one."""
    if isinstance(value, Mapping):
        if "features" in value:
            return "Embeddings"
        return "Released" if "objective" not in value and set(value) & set(Released.model_fields) else "recipe"
    return type(value).__name__ if isinstance(value, Released | Embeddings) else "recipe"


Weights = Annotated[
    Annotated[AnyRecipe, Tag("recipe")] | Annotated[Released, Tag("Released")] | Annotated[Embeddings, Tag("Embeddings")],
    Discriminator(_kind),
]


class Model(Strict):
    """family: of the references, whose claims it enters; a model without one is measured and enters none. architecture: a name
    under the profile's architectures, null of embeddings. weights: by profile, a recipe to train, a released file, or
    embeddings. replicate_of: the model that this is another pre-training run of, the same but for the seed. In the file such a
    model may have a replicate_of and a seed alone.
    """

    family: Family | None = None
    architecture: Key | None
    replicate_of: Key | None = None
    weights: dict[Key, Weights]


class Params(Strict):
    """The whole of params.yaml. profile: the name of the one that dvc repro measures, in the file an alias of it."""

    models: dict[Key, Model]
    profiles: dict[Key, Profile]
    profile: Key

    @property
    def references(self) -> list[str]:
        """The models that are references at any profile, in the file's order: those of the paper, and untrained networks."""
        return [name for name in self.models if any(name in profile.references for profile in self.profiles.values())]

    def of(self, profile: str) -> Profile:
        """The named profile; InvalidInput with the nearest name if there is none."""
        return _pick(self.profiles, profile, "profiles")

    def model(self, name: str) -> Model:
        """The named model, of a fine-tuned one that it started as; InvalidInput with the nearest name if there is none."""
        return _pick(self.models, start_of(name), "models")

    def weights(self, name: str, profile: str) -> AnyRecipe | Released | Embeddings:
        """How the model's weights come to be at the profile, of a fine-tuned one those that it started with."""
        finetuned = self.of(profile).finetuned
        weights = self.model(name).weights
        if name != start_of(name) and start_of(name) not in finetuned:
            what = f"profiles.{profile}.finetuned has {', '.join(finetuned) or 'no model'}"
            raise MissingArtifact("params.yaml", what, next_step=f"add {start_of(name)} to it, and run dvc repro")
        if profile not in weights:
            raise MissingArtifact(
                "params.yaml",
                f"models.{name}.weights has no entry for profile {profile}",
                next_step=f"add models.{name}.weights.{profile}: a recipe to train, or file, layout and sha256",
            )
        return weights[profile]

    def at(self, profile: str) -> list[str]:
        """The models that a profile measures, in its order, fine-tuned ones last."""
        settings = self.of(profile)
        return [*settings.models, *(name + FINETUNED for name in settings.finetuned)]

    def replicates(self, name: str, profile: str) -> list[str]:
        """The model and the other pre-training runs of it that the profile has, in its order."""
        return [other for other in self.of(profile).models if other == name or self.models[other].replicate_of == name]

    def compared(self, name: str, profile: str) -> list[str]:
        """The profile's references that a model is compared with.

        A reference itself is compared with those before it and with itself, so that each two of them meet once. Fine-tuned
        references come after those that they started as, and are compared with fine-tuned models alone.
        """
        self.model(name)
        references = self.compared_with(profile, finetuned=name != start_of(name))
        return references[: references.index(name) + 1] if name in references else references

    def compared_with(self, profile: str, *, finetuned: bool) -> list[str]:
        """The references of a profile, and for fine-tuned models also the fine-tuned ones of them."""
        settings = self.of(profile)
        tuned = [name + FINETUNED for name in settings.references if finetuned and name in settings.finetuned]
        return [*settings.references, *tuned]

    def architecture(self, name: str, profile: str) -> Architecture:
        """The timm network of a model at a profile. Raises InvalidInput for embeddings, which have none."""
        architecture = self.model(name).architecture
        if architecture is None:
            raise InvalidInput("params.yaml", field=f"models.{name}", seen="embeddings", expected="a model with a network")
        return _pick(self.of(profile).architectures, architecture, f"profiles.{profile}.architectures")


def start_of(name: str) -> str:
    """The model that a fine-tuned one started as; any other is itself."""
    return name.removesuffix(FINETUNED)


def load(path: Path) -> Params:
    """Read and check params.yaml. Raises InvalidInput naming the key, the value and, for a slip, the nearest key."""
    if not path.is_file():
        raise MissingArtifact(path, "there are no parameters", next_step="run from the project's root")
    try:
        with path.open("rb") as file:
            raw = yaml.load(file, Loader=_UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # ValueError: text that looks like a date or a number and is none.
        raise InvalidInput(path, field="YAML", seen=" ".join(str(error).split()), expected="valid YAML") from error
    return check(raw, str(path))


def check(raw: Any, where: str) -> Params:
    """Params from plain values, with references that exist and sizes that go together."""
    try:
        plain = _tuples(raw)
        raw = _named(plain, where)
        raw = _with_replicates(raw) if isinstance(raw, Mapping) else raw
    except RecursionError as error:
        raise InvalidInput(where, field="YAML", seen="a value that contains itself", expected="plain values") from error
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, raw, where) from error
    for name, profile in params.profiles.items():
        _refuse_other_names(params, name, profile)
    for name, model in params.models.items():
        if name != start_of(name):
            expected = f"another name: {name} is {start_of(name)} when it is fine-tuned"
            raise InvalidInput(where, field="models", seen=name, expected=expected)
        for at in model.weights:
            _pick(params.profiles, at, f"models.{name}.weights")
            if model.architecture is not None:
                _pick(params.profiles[at].architectures, model.architecture, f"models.{name}.architecture")
            if name not in params.profiles[at].models:
                expected = f"{name} among profiles.{at}.models, where it has weights, or no weights there"
                raise InvalidInput(where, field=f"models.{name}.weights.{at}", seen="a model left out", expected=expected)
    _refuse_files(params)
    _refuse_embeddings(params)
    for name, model in params.models.items():
        if model.replicate_of is not None:
            _refuse_other_recipe(params, name, model, _pick(params.models, model.replicate_of, f"models.{name}.replicate_of"))
    for name, profile_params in params.profiles.items():
        for model_name in profile_params.anchors:
            _pick(dict.fromkeys(profile_params.models, 0), model_name, f"profiles.{name}.anchors")
        for key, seen, expected in _misfits(profile_params):
            raise InvalidInput(where, field=f"profiles.{name}.{key}", seen=seen, expected=expected)
    _refuse_another_profile(plain["profile"], plain["profiles"], where)
    return params


def _named(raw: Any, where: str) -> Any:
    """The profile to measure by its name, where the file has what dvc.yaml needs of it: that can look nothing up by a name."""
    chosen = raw.get("profile") if isinstance(raw, Mapping) else None
    if chosen is None or not isinstance(raw.get("profiles"), Mapping):
        return raw
    if isinstance(chosen, Mapping) and chosen.get("name") in raw["profiles"]:
        return raw | {"profile": chosen["name"]}
    names = [str(name) for name in raw["profiles"]]
    seen = chosen if isinstance(chosen, str) else "none of the profiles"
    expected = f"an alias of a profile: *{nearest(seen, names) if isinstance(chosen, str) else ', *'.join(names)}"
    raise InvalidInput(where, field="profile", seen=seen, expected=expected)


def _refuse_another_profile(chosen: Any, profiles: Mapping[str, Any], where: str) -> None:
    """What dvc.yaml measures is what the profile of that name says: an edit of one of two copies is not lost."""
    if not isinstance(chosen, Mapping):
        return
    name = chosen["name"]
    for key, value in chosen.items():
        if profiles[name].get(key) != value:
            expected = f"the {key} that profiles.{name} has, by the alias profile: *{name}"
            raise InvalidInput(where, field=f"profile.{key}", seen=f"other {key}", expected=expected)


def _with_replicates(raw: Any) -> Any:
    """Each model of a replicate_of and a seed alone gets all else of that model: its recipe at the profiles that name it."""
    models, profiles = raw.get("models"), raw.get("profiles")
    if not isinstance(models, Mapping) or not isinstance(profiles, Mapping):
        return raw
    whole = dict(models)
    for name, model in models.items():
        if not isinstance(model, Mapping) or set(model) != {"replicate_of", "seed"}:
            continue
        first = _pick(models, str(model["replicate_of"]), f"models.{name}.replicate_of")
        known = first.get("weights") if isinstance(first, Mapping) else None
        at = [p for p, profile in profiles.items() if isinstance(profile, Mapping) and name in (profile.get("models") or ())]
        if not isinstance(known, Mapping):
            continue
        weights = {p: {**known[p], "seed": model["seed"]} for p in at if isinstance(known.get(p), Mapping)}
        shared = {key: first[key] for key in ("family", "architecture") if key in first}
        whole[name] = shared | {"replicate_of": model["replicate_of"], "weights": weights}
    return raw | {"models": whole}


def _refuse_other_names(params: Params, name: str, profile: Profile) -> None:
    """A profile is called by its name, and what it names are models of its own, each once."""
    where = f"profiles.{name}"
    if profile.name != name:
        raise InvalidInput("params.yaml", field=f"{where}.name", seen=profile.name, expected=name)
    for field, options in (
        ("models", params.models),
        ("references", profile.models),
        ("sweep_models", profile.models),
        ("finetuned", profile.models),
    ):
        names = getattr(profile, field)
        for model in names:
            _pick(dict.fromkeys(options, 0), model, f"{where}.{field}")
        if len(set(names)) < len(names):
            raise InvalidInput("params.yaml", field=f"{where}.{field}", seen=", ".join(names), expected="each model once")
    for model in profile.models:
        params.weights(model, name)
    if profile.finetuned and profile.finetune is None:
        seen = f"none for {', '.join(profile.finetuned)}"
        raise InvalidInput("params.yaml", field=f"{where}.finetune", seen=seen, expected="a recipe to fine-tune by (Table A5)")
    for model in profile.references:
        if params.models[model].family is None:
            raise InvalidInput("params.yaml", field=f"models.{model}.family", seen="none", expected="one, as references have")


def _refuse_files(params: Params) -> None:
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


def _refuse_embeddings(params: Params) -> None:
    """Embeddings have no network and stand nowhere where one is needed; every other model has one."""
    for name, model in params.models.items():
        for at, weights in model.weights.items():
            profile = params.profiles[at]
            stands = [field for field in ("sweep_models", "finetuned") if name in getattr(profile, field)]
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


def _misfits(profile: Profile) -> Iterator[tuple[str, object, str]]:
    """Numbers that are right one by one and wrong together: key, seen, expected.

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
    data = profile.data
    if isinstance(data, ReaderData) and data.url and not data.root:
        yield "data.root", "nothing", "the folder that data.url unpacks to"
    if isinstance(data, ReaderData) and data.resize < data.size:
        yield "data.resize", data.resize, f"at least data.size, {data.size}: a crop beyond the image would be black there"


def _refuse_other_recipe(params: Params, name: str, model: Model, first: Model) -> None:
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


class _UniqueKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; here they are an error.

    What a merge key (<<) brings may be said anew beside it: that is what merging is for.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = key_node.value if merges else self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


def _tuples(value: Any) -> Any:
    """YAML has no tuples and strict validation takes no lists for them."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _pick(options: Mapping[str, T], name: str, where: str) -> T:
    if name not in options:
        raise InvalidInput("params.yaml", field=where, seen=name, expected=nearest(name, options))
    return options[name]


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint: the names closest to a misspelt one, or all of them."""
    names = sorted(options)
    close = difflib.get_close_matches(name, names, n=3)
    return f"{' or '.join(close)}?" if close else f"one of {', '.join(names)}"


def _explain(error: ValidationError, raw: Any, where: str) -> InvalidInput:
    # A slip in a required key leaves two errors, of which what stands there says more than what is missing.
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    location, kind, facts = first["loc"], first["type"], first.get("ctx", {})
    seen, expected = f"{first['input']!r}", first["msg"]
    if kind == "extra_forbidden":
        seen, expected = str(location[-1]), nearest(str(location[-1]), _fields(location[:-1]))
    elif kind == "missing":
        seen = "nothing"
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, facts["discriminator"].strip("'"))
        seen = repr(facts["tag"]) if "tag" in facts else "nothing"
        expected = f"one of {facts['expected_tags']}" if "tag" in facts else "Field required"
    return InvalidInput(where, field=_key(location, raw), seen=seen[:200], expected=expected)


def _key(location: tuple[int | str, ...], raw: Any) -> str:
    """The key in the file at an error's location, which also has names of alternatives that are no keys."""
    key: list[str] = []
    alternative = None
    for i, part in enumerate(location):
        if part == alternative:
            alternative = None
            continue
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[part]
        elif isinstance(raw, tuple) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
        elif i < len(location) - 1 or part == "[key]":
            continue
        key.append(str(part))
        # What tells the alternative comes in the location before the alternative's own keys, of which one may be called so.
        alternative = raw.get("kind", raw.get("objective")) if isinstance(raw, Mapping) else None
    return ".".join(key) or "the whole file"


def _fields(location: Iterable[int | str]) -> set[str]:
    """The keys that may stand at an error's location."""
    kinds: set[type[Strict]] = {Params}
    for part in location:
        inner = {k for kind in kinds if part in kind.model_fields for k in _kinds(kind.model_fields[str(part)].annotation)}
        # The name of an alternative: a class, or the value of the literal field that tells it.
        named = {k for k in kinds if k.__name__ == part or part in _tags(k)}
        kinds = inner or named or kinds
    return {name for kind in kinds for name in kind.model_fields}


def _kinds(annotation: Any) -> set[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return {annotation}
    return {kind for argument in get_args(annotation) for kind in _kinds(argument)}


def _tags(kind: type[Strict]) -> set[Any]:
    return {value for field in kind.model_fields.values() for value in get_args(field.annotation) if isinstance(value, str)}
