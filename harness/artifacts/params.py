"""params.yaml: every number that a measurement depends on, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.recipes import AnyRecipe
from harness.artifacts.strict import Count, Positive, Strict

T = TypeVar("T")
Family = Literal["je", "rec", "supervised", "random"]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class SceneParams(Strict):
    """How a scene is composed. Lengths are in pixels of the canvas; scale is the sprite's side over the canvas side.

    tint: how far a colour channel strays from grey. contrast: least distance between object and background, of 255.
    """

    size: int = Field(ge=8)
    objects: tuple[int, int] = (1, 1)
    scale: tuple[float, float] = (0.7, 1.0)
    jitter: float = Field(default=0.5, ge=0, le=1)
    tilt: float = Field(default=0.2, ge=0, lt=1)
    contrast: float = Field(default=0.35, gt=0, lt=1)
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


class ReaderData(Strict):
    """Images on disk through a timm reader: name as for timm.data.create_dataset, root where the data lie."""

    kind: Literal["reader"]
    reader: str
    root: str
    train_split: str = "train"
    validation_split: str = "validation"
    resize: Count = 256
    size: Count = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)


class Architecture(Strict):
    """A timm network: its name and what timm.create_model takes beside it."""

    name: str
    options: dict[str, int | float | bool | str] = Field(default_factory=dict)


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
    """Weighted k-NN: neighbours, and the temperature of their votes. probe: inverse penalty of the linear probe."""

    k: Count
    temperature: Positive
    probe: Positive


class SimilarityParams(Strict):
    """Second opinions on CKA: neighbours of mutual k-NN, and disjoint subsets of the images for debiased CKA."""

    k: Count
    subsets: Annotated[int, Field(ge=2)]


class SweepParams(Strict):
    """Fig. A1: CKA of `layers` random layers of two models at each minibatch size over as many images as the largest, and
    at each image count in minibatches of the first size, again on each of `subsets` disjoint sets of images.
    """

    layers: Count
    minibatches: tuple[Count, ...]
    images: tuple[Count, ...]
    subsets: Annotated[int, Field(ge=2)]
    seed: int = Field(ge=0)


class Profile(Strict):
    """A named scale: data, networks, sizes, budgets."""

    data: Annotated[ScenesData | ReaderData, Field(discriminator="kind")]
    architectures: dict[Key, Architecture]
    extract: ExtractParams
    knn: KnnParams
    similarity: SimilarityParams
    sweep: SweepParams


class Released(Strict):
    """Weights that somebody published: a local file, the layout it has and its SHA-256."""

    file: str
    layout: Literal["plain", "mae", "moco_v3", "dino", "msn"] = "plain"
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")


class Model(Strict):
    """architecture: a name under the profile's architectures. weights: by profile, a recipe to train or a released file."""

    family: Family
    architecture: Key
    weights: dict[Key, AnyRecipe | Released]


class Params(Strict):
    """The whole of params.yaml. Every model is compared with each of the references; the sweep is over sweep_models."""

    profile: Key
    references: tuple[Key, ...]
    sweep_models: tuple[Key, Key]
    profiles: dict[Key, Profile]
    models: dict[Key, Model]

    def of(self, profile: str) -> Profile:
        """The named profile; InvalidInput with the nearest name if there is none."""
        return _pick(self.profiles, profile, "profiles")

    def model(self, name: str) -> Model:
        """The named model; InvalidInput with the nearest name if there is none."""
        return _pick(self.models, name, "models")

    def weights(self, name: str, profile: str) -> AnyRecipe | Released:
        """How the model's weights come to be at the profile."""
        weights = self.model(name).weights
        if profile not in weights:
            raise MissingArtifact(
                "params.yaml",
                f"models.{name}.weights has no entry for profile {profile}",
                next_step=f"add models.{name}.weights.{profile}: a recipe to train, or file, layout and sha256",
            )
        return weights[profile]

    def architecture(self, name: str, profile: str) -> Architecture:
        """The timm network of a model at a profile."""
        return _pick(self.of(profile).architectures, self.model(name).architecture, f"profiles.{profile}.architectures")


def load(path: Path) -> Params:
    """Read and check params.yaml. Raises InvalidInput naming the key, the value and, for a slip, the nearest key."""
    if not path.is_file():
        raise MissingArtifact(path, "there are no parameters", next_step="run from the project's root")
    try:
        raw = yaml.load(path.read_text(), Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise InvalidInput(path, field="YAML", seen=" ".join(str(error).split()), expected="valid YAML") from error
    return check(raw, str(path))


def check(raw: Any, where: str) -> Params:
    """Params from plain values, with references that exist."""
    try:
        params = Params.model_validate(_tuples(raw))
    except ValidationError as error:
        raise _explain(error, where) from error
    _pick(params.profiles, params.profile, "profiles")
    for name in (*params.references, *params.sweep_models):
        _pick(params.models, name, "models")
    return params


class _UniqueKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
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


def _explain(error: ValidationError, where: str) -> InvalidInput:
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    seen = f"{first['input']!r}"
    expected = first["msg"]
    if first["type"] == "extra_forbidden":
        key, seen = str(first["loc"][-1]), str(first["loc"][-1])
        expected = nearest(key, _known_keys())
    return InvalidInput(where, field=location, seen=seen[:200], expected=expected)


def _known_keys() -> set[str]:
    known: set[str] = set()
    stack: list[type[Strict]] = [Strict]
    while stack:
        for kind in stack.pop().__subclasses__():
            known |= set(kind.model_fields)
            stack.append(kind)
    return known
