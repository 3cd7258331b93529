"""Schemas of a profile's images: composed scenes, or image files in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from harness.artifacts.strict import Count, Positive, Strict


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
