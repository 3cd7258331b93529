"""Schema of an entry under `models:`: the network, and the origin of its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from harness.artifacts.strict import Strict
from harness.params.images import Download
from harness.params.recipes import AnyRecipe

Family = Literal["je", "rec", "supervised", "random"]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
# What a fine-tuned model is called: the name of the one that it started as, and this.
FINETUNED = "_ft"


class Released(Download):
    """Published weights: a local file or an address, and its layout.

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
    """Features of the profile's images in place of weights: an .npz file as docs/judge-a-model.md describes it,
    and its SHA-256.
    """

    features: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self.features)


def _kind(value: Any) -> str:
    """The schema of an entry's weights: a recipe has an objective, embeddings have features, released files neither."""
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
    """title: what figures call it, by default its name. family: of the references, whose claims it enters; a model without
    one is measured and enters none. architecture: a name under the profile's architectures, null of embeddings. weights: by
    profile, a recipe to train, a released file, or embeddings. replicate_of: the model that this is another pre-training
    run of, the same but for the seed. In the file such a model may have a replicate_of and a seed alone.
    """

    title: str | None = None
    family: Family | None = None
    architecture: Key | None
    replicate_of: Key | None = None
    weights: dict[Key, Weights]


def start_of(name: str) -> str:
    """The model that a fine-tuned model started from; any other model itself."""
    return name.removesuffix(FINETUNED)
