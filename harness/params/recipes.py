"""Recipes of pre-training: Tables A1 to A3 with the numbers that scale them.

The learning rate is base_lr x batch / 256 (appendix A.2). Where the tables are silent the official recipes decide.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.artifacts.strict import Count, Positive, Strict, Unit


class Recipe(Strict):
    """Fields of every objective. Lengths are in epochs, rates per 256 images. labelled: whether it uses labels."""

    labelled: ClassVar[bool] = False

    seed: int = Field(ge=0)
    epochs: Count
    batch: Annotated[int, Field(ge=2)]
    base_lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_epochs: Annotated[int, Field(ge=0)]
    betas: tuple[Unit, Unit] = (0.9, 0.95)
    crop: tuple[Positive, Unit]
    clip_grad: Positive | None = None


class JointEmbeddingRecipe(Recipe):
    """photometric: the share of colour jitter, grey, blur and solarisation in the views; 0 crops and flips alone. flip: the
    probability that a view is mirrored.
    """

    photometric: Annotated[float, Field(ge=0, le=1)] = 1.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5


class PrototypeRecipe(JointEmbeddingRecipe):
    """photometric_epochs: the first epoch with photometric changes, and the one from which on they have their whole share, to
    which they grow linearly. sinkhorn: iterations of Sinkhorn-Knopp, which give all prototypes the same share of a batch.
    """

    photometric_epochs: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 0)
    sinkhorn: int = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, last = self.photometric_epochs
        if last < first:
            raise ValueError("photometric_epochs in order: the first with changes, and the first with their whole share")
        return self

    def photometric_share(self, epoch: int) -> float:
        """The share of the photometric changes in an epoch, which is counted from 0."""
        first, last = self.photometric_epochs
        return self.photometric if epoch >= last else self.photometric * max(0.0, (epoch - first) / (last - first))


class MocoV3Recipe(JointEmbeddingRecipe):
    """MoCo-v3 (Table A2): InfoNCE between a query and the momentum encoder's key."""

    objective: Literal["moco_v3"]
    momentum: Unit = 0.99
    temperature: Positive = 0.2
    hidden: Count = 4096
    out: Count = 256


class DinoRecipe(PrototypeRecipe):
    """DINO (Table A3): self-distillation over global and, with local_views > 0, local crops.

    batch_norm: between the layers of the projection head (use_bn_in_head of the official code). sinkhorn: 0 takes the moving
    mean of the teacher's logits away instead (centring), as the paper does.
    """

    objective: Literal["dino"]
    sinkhorn: int = Field(default=0, ge=0)
    momentum: Unit = 0.996
    teacher_temperature: tuple[Positive, Positive] = (0.04, 0.07)
    teacher_warmup_epochs: int = Field(default=30, ge=0)
    local_views: int = Field(default=8, ge=0)
    local_size: Count = 96
    local_crop: tuple[Positive, Unit] = (0.05, 0.25)
    weight_decay_end: Annotated[float, Field(ge=0)] = 0.4
    batch_norm: bool = False
    freeze_last_layer: int = Field(default=1, ge=0)
    hidden: Count = 2048
    bottleneck: Count = 256
    prototypes: Count = 65536


class MsnRecipe(PrototypeRecipe):
    """MSN (Assran et al., 2022): the target's prototypes, guessed from masked and focal views of the image.

    mask: share of the anchor's patches that are dropped; focal views are small crops, seen whole. sharpening: of the target's
    shares of prototypes. regularisation: weight of the mean entropy, which keeps all prototypes in use.
    """

    objective: Literal["msn"]
    momentum: Unit = 0.996
    mask: Annotated[float, Field(ge=0, lt=1)] = 0.3
    focal_views: int = Field(default=10, ge=0)
    focal_size: Count = 96
    focal_crop: tuple[Positive, Unit] = (0.05, 0.3)
    temperature: Positive = 0.1
    sharpening: Positive = 0.25
    sinkhorn: int = Field(default=3, ge=0)
    regularisation: Annotated[float, Field(ge=0)] = 1.0
    weight_decay_end: Annotated[float, Field(ge=0)] = 0.4
    hidden: Count = 2048
    out: Count = 256
    prototypes: Count = 1024


class ReconstructionRecipe(Recipe):
    """mask: share of the patches that are masked. norm_pix_loss: whether the target is each patch's pixels less their mean and
    over their standard deviation, as in the official code, or the pixels as the network is given them.
    """

    mask: Annotated[float, Field(gt=0, lt=1)]
    norm_pix_loss: bool = True
    decoder_width: Count = 512


class MaeRecipe(ReconstructionRecipe):
    """MAE (Table A1): regression of the pixels of masked patches."""

    objective: Literal["mae"]
    mask: Annotated[float, Field(gt=0, lt=1)] = 0.75
    decoder_depth: Count = 8
    decoder_heads: Count = 16


class FcmaeRecipe(ReconstructionRecipe):
    """FCMAE (Woo et al., 2023): regression of the pixels of masked patches by a ConvNeXt V2.

    patch: its side in pixels.
    """

    objective: Literal["fcmae"]
    mask: Annotated[float, Field(gt=0, lt=1)] = 0.6
    patch: Count = 32


class VicregRecipe(JointEmbeddingRecipe):
    """VICReg (Bardes et al., 2022). invariance, variance, covariance: weights of its three terms."""

    objective: Literal["vicreg"]
    invariance: Positive = 25.0
    variance: Positive = 25.0
    covariance: Positive = 1.0
    hidden: Count = 8192
    out: Count = 8192


class SupervisedRecipe(Recipe):
    """Classification with labels: no method of the paper, the reference that says how much the images hold."""

    labelled: ClassVar[bool] = True

    objective: Literal["supervised"]
    classes: Annotated[int, Field(ge=2)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1


class FinetuneRecipe(Recipe):
    """Fine-tuning with labels from a pre-trained network (Table A5), a linear layer on its final CLS token.

    layer_decay: by how much a layer's rate is lower than that of the next. randaugment: timm's name of it, "" for none; with
    the official recipe's "-inc1" it asks Pillow for 0 bits at times, which is refused. erasing: probability of random erasing,
    on which the paper is silent. every: epochs between the snapshots of which the path's length is taken, for each of these.
    watched: how many validation images' final CLS tokens are kept of each epoch.
    """

    labelled: ClassVar[bool] = True

    betas: tuple[Unit, Unit] = (0.9, 0.999)
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    randaugment: str = "rand-m9-mstd0.5"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mixup: Annotated[float, Field(ge=0)] = 0.8
    cutmix: Annotated[float, Field(ge=0)] = 1.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    erasing: Annotated[float, Field(ge=0, lt=1)] = 0.25
    every: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    watched: Count = 512

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.batch % 2:
            raise ValueError("an even batch: mixup mixes its images in pairs")
        if any(self.epochs % every for every in self.every):
            raise ValueError("epochs between snapshots that divide the epochs: the last snapshot is the end")
        return self


class RandomRecipe(Strict):
    """No training: the initial weights, as reference."""

    objective: Literal["random"]
    seed: int = Field(ge=0)
    positions: Literal["sincos", "learned"] | None = "sincos"


AnyRecipe = Annotated[
    MocoV3Recipe | DinoRecipe | MsnRecipe | VicregRecipe | MaeRecipe | FcmaeRecipe | SupervisedRecipe | RandomRecipe,
    Field(discriminator="objective"),
]
