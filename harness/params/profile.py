"""Schema of an entry under `profiles:`: images, networks, and the sizes of every stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.artifacts.errors import InvalidInput
from harness.artifacts.strict import Count, Positive, Strict, Unit
from harness.params.images import ReaderData, SceneParams, ScenesData
from harness.params.models import Key
from harness.params.recipes import FinetuneRecipe

Token = Literal["cls", "gap"]
# In the place of the blocks that a detector reads: its backbone is trained with it.
END_TO_END = "end-to-end"


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


class EndToEndParams(Strict):
    """How a backbone is trained with its detector (Table A7). rate: of its last layer; layer_decay: of each over the next's."""

    rate: Positive
    layer_decay: Unit
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]


class CocoParams(Strict):
    """Annotated images on disk in the format of COCO 2017: <root>/<split>/ with the images, and
    <root>/annotations/instances_<split>.json. size: side in pixels that they are resized to and padded to.
    """

    root: str
    train_split: str = "train2017"
    validation_split: str = "val2017"
    size: Count = 1024


class DetectionParams(Strict):
    """A Mask R-CNN on the patch tokens of each model, which are frozen (Tables 2 and A6, Fig. 8) or trained too (Table A7).

    engine: whose Mask R-CNN; detectron2, the paper's, is installed by itself. heads: convolutional as in ViTDet (two before the
    proposals; four and a linear layer before the boxes; four before the masks; with layer norms), or linear as in Mask R-CNN
    (one; two linear layers; two), which learn in fewer steps. world: of the scenes that it learns and is judged on; they have
    several objects on a larger canvas. coco: images on disk in their place. train, validation: how many of them. levels:
    strides of the pyramid over the patch's side. anchors: sides in pixels, one a level. channels: of the pyramid and the heads.
    masked: how many levels, from the finest, masks are read from. rpn_anchors, rois: anchors and regions an image that are
    trained on. proposals: the most an image, by level before and in all after those that overlap are dropped. detections: the
    most in an image. rate: of AdamW.
    """

    engine: Literal["torchvision", "detectron2"] = "torchvision"
    heads: Literal["linear", "convolutional"] = "linear"
    world: SceneParams | None = None
    coco: CocoParams | None = None
    train: Count
    validation: Annotated[int, Field(ge=8)]
    levels: Annotated[tuple[Positive, ...], Field(min_length=1)]
    anchors: Annotated[tuple[Count, ...], Field(min_length=1)]
    channels: Count
    masked: Count = 1
    rpn_anchors: Count = 64
    proposals: tuple[Count, Count] = (200, 60)
    rois: Count
    detections: Count
    epochs: Count
    batch: Count
    rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    end_to_end: EndToEndParams | None = None
    seed: int = Field(default=0, ge=0)

    @property
    def images(self) -> CocoParams | SceneParams:
        """A folder, or the world of scenes. Raises InvalidInput where there is neither."""
        found = self.coco or self.world
        if found is None:
            expected = "world, of scenes, or coco, a folder"
            raise InvalidInput("params.yaml", field="detection", seen="no images", expected=expected)
        return found

    @property
    def side(self) -> int:
        """Of the network's input in pixels. Raises InvalidInput without images."""
        return self.images.size

    @property
    def frozen(self) -> Self:
        """The parameters that decide about detectors on frozen features."""
        return self.model_copy(update={"end_to_end": None})

    def trained_with(self, layers: str) -> EndToEndParams | None:
        """How the backbone is trained; None where it is frozen. Raises InvalidInput where params.yaml does not say it."""
        if layers == END_TO_END and self.end_to_end is None:
            expected = "how the backbone is trained (Table A7)"
            raise InvalidInput("params.yaml", field="detection.end_to_end", seen="none", expected=expected)
        return self.end_to_end if layers == END_TO_END else None


class SegmentationParams(Strict):
    """A linear read-out of objects' masks from the patch tokens of each block, on the scenes of `detection`.

    train, validation: how many scenes. penalty: on the mean square of its weights.
    """

    train: Count
    validation: Annotated[int, Field(ge=8)]
    penalty: Positive


class GenerationParams(Strict):
    """A diffusion model of images that is conditioned on frozen features (Figs. 7, A7, A8), one for all models.

    images: how many of the training split it learns from. side: in pixels, of the photographs that a U-Net draws; none for
    scenes, which are drawn as vectors. width, depth: of the blocks of a denoiser of vectors; of a U-Net, channels of its first
    level, and the number of its levels. ema: decay of the weights' moving average. largest_level: of the noise on standardised
    features, in their standard deviations.
    """

    images: Annotated[int, Field(ge=2)]
    side: Count | None = None
    width: Count
    depth: Count
    steps: Count
    batch: Count
    rate: Positive
    warmup_steps: Annotated[int, Field(ge=0)]
    ema: Annotated[float, Field(gt=0, lt=1)]
    largest_level: Annotated[float, Field(ge=0)]
    seed: int = Field(default=0, ge=0)


class SamplingParams(Strict):
    """What is drawn from the diffusion model of `generation`.

    sources: at most how many validation images are sampled from. asymmetry: the least squared distance between such an image,
    its mirror image, and those two with the object mirrored, over that between two images. samples: of each source. levels: of
    the noise on features at which they are drawn; level: the one of them that claims are decided at. steps: of the solver.
    judge: the model whose features tell the class of a sample. validation: how many other images the held-out loss is taken on.
    """

    sources: Annotated[int, Field(ge=2)]
    asymmetry: Annotated[float, Field(ge=0)]
    samples: Count
    levels: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    level: Annotated[float, Field(ge=0)]
    steps: Count
    judge: Key
    validation: Annotated[int, Field(ge=4)]
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _level_is_drawn(self) -> Self:
        if self.level not in self.levels:
            raise ValueError(f"level {self.level:g} is none of levels {', '.join(f'{one:g}' for one in self.levels)}")
        return self


class Profile(Strict):
    """A named scale: data, networks, sizes, budgets.

    name: the profile's own. models: those that are measured, which are those with weights here. references: what each of
    them is compared with. sweep_models: the two of Fig. A1. anchors: by model, 20-NN accuracy in percent of its final CLS
    token as others published it for the same weights and images. finetuned: those that are fine-tuned as well, by `finetune`,
    and measured again: mae and then mae_ft. detected: those on whose frozen features a detector is trained, by `detection`;
    detected_deeper, on those of blocks 9 and 10 as well; detected_by_block, of these, on those of either and on the last
    block's twice (Fig. 8); detected_end_to_end, with the backbone.
    segmented: those from whose patch tokens masks are read out, by `segmentation`. generated: the tokens from which
    images are drawn, by `generation` and `sampling`; sampled: the models that they are of, fine-tuned ones too.
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
    detected: tuple[Key, ...] = ()
    detected_deeper: tuple[Key, ...] = ()
    detected_by_block: tuple[Key, ...] = ()
    detected_end_to_end: tuple[Key, ...] = ()
    detection: DetectionParams | None = None
    segmented: tuple[Key, ...] = ()
    segmentation: SegmentationParams | None = None
    generated: tuple[Token, ...] = ()
    sampled: tuple[Key, ...] = ()
    generation: GenerationParams | None = None
    sampling: SamplingParams | None = None

    @staticmethod
    def detected_field(layers: str) -> str:
        """The list of models with a detector on these layers: the last block, further ones too, or a trained backbone's."""
        known = {"final": "detected", "final+9+10": "detected_deeper", END_TO_END: "detected_end_to_end"}
        return known.get(layers, "detected_by_block")

    def detected_with(self, layers: str) -> tuple[str, ...]:
        """The models in that list."""
        found: tuple[str, ...] = getattr(self, self.detected_field(layers))
        return found
