"""A Mask R-CNN on a vision transformer: ViTDet's simple feature pyramid (Li et al., 2022) under torchvision's heads.

With a frozen backbone the features of all images are computed once, and the pyramid and the heads are trained. End to end, the
backbone is trained with them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import LayerNorm2d
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torchvision.models.detection import roi_heads
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.data.annotated import AnnotatedImages
from harness.data.coco import Instances, encode
from harness.models.tokens import depth_of
from harness.params.profile import DetectionParams, EndToEndParams
from harness.training.schedules import warmup_cosine

Target = dict[str, Tensor]
# Indices of images (b,) to their features (b, width, h, w), in single precision on the device.
Features = Callable[[NDArray[np.int64]], Tensor]


class Pyramid(nn.Module):
    """ViTDet's simple feature pyramid: one map of the patch tokens to maps at several strides.

    width: channels of the tokens. factors: of each level, its stride over the patch's side: 1/4, 1/2, 1 or 2. channels: of
    every level. Input (b, width, h, w), output by level a map (b, channels, h / factor, w / factor).
    """

    def __init__(self, width: int, factors: Sequence[float], channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, channels, 1)
        self.levels = nn.ModuleDict({str(i): self._level(channels, factor) for i, factor in enumerate(factors)})

    @staticmethod
    def _level(channels: int, factor: float) -> nn.Sequential:
        up = [nn.ConvTranspose2d(channels, channels, 2, stride=2), LayerNorm2d(channels), nn.GELU()]
        resize: dict[float, list[nn.Module]] = {
            0.25: [*up, nn.ConvTranspose2d(channels, channels, 2, stride=2)],
            0.5: [nn.ConvTranspose2d(channels, channels, 2, stride=2)],
            1: [],
            2: [nn.MaxPool2d(2)],
        }
        smooth = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), LayerNorm2d(channels)]
        return nn.Sequential(*resize[factor], LayerNorm2d(channels), *smooth)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        reduced = self.reduce(tokens)
        return {name: level(reduced) for name, level in self.levels.items()}


class Detector(nn.Module):
    """The pyramid, a region proposal network and heads for boxes and masks.

    width: channels of the features. patch: side of a patch in pixels. size: side of an image. classes: without the background.
    """

    def __init__(self, width: int, patch: int, size: int, classes: int, params: DetectionParams) -> None:
        super().__init__()
        self.size, self.params = size, params
        channels, names = params.channels, [str(i) for i in range(len(params.levels))]
        self.pyramid = Pyramid(width, params.levels, channels)
        anchors = AnchorGenerator(tuple((side,) for side in params.anchors), ((0.5, 1.0, 2.0),) * len(params.anchors))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=params.rpn_anchors,
            positive_fraction=0.5,
            pre_nms_top_n=dict.fromkeys(("training", "testing"), params.proposals[0]),
            post_nms_top_n=dict.fromkeys(("training", "testing"), params.proposals[1]),
            nms_thresh=0.7,
        )
        # torchvision's defaults are made for objects of 224 pixels at stride 16: all small ones go to one level.
        stride = patch * params.levels[0]
        align = {"sampling_ratio": 2, "canonical_scale": int(8 * stride), "canonical_level": round(math.log2(stride))}
        self.heads = roi_heads.RoIHeads(
            MultiScaleRoIAlign(names, 7, **align),
            TwoMLPHead(channels * 49, 4 * channels),
            FastRCNNPredictor(4 * channels, classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=params.rois,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=params.detections,
            mask_roi_pool=MultiScaleRoIAlign(names[: params.masked], 14, **align),
            mask_head=MaskRCNNHeads(channels, (channels, channels), 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, classes + 1),
        )

    def forward(self, features: Tensor, targets: list[Target] | None = None) -> tuple[list[dict[str, Tensor]], Tensor]:
        """features: (b, width, h, w). Returns detections (none while it trains) and the loss."""
        maps = self.pyramid(features)
        shapes = [(self.size, self.size)] * len(features)
        images = ImageList(features.new_zeros(len(features), 1, self.size, self.size), shapes)
        proposals, losses = self.rpn(images, maps, targets)
        found, further = self.heads(maps, proposals, shapes, targets)
        total = sum([*losses.values(), *further.values()], start=features.new_zeros(()))
        return found, total


class Backbone(nn.Module):
    """A vision transformer that is trained with its detector: images (b, s, s, 3) uint8 to patch tokens (b, width, h, w)."""

    def __init__(self, network: nn.Module, normalise: nn.Module, params: EndToEndParams) -> None:
        """normalise: what turns pixels in [0, 1] into the network's input."""
        super().__init__()
        # A patch embedding may have been frozen in pre-training.
        self.network, self.normalise, self.params = network.requires_grad_(True), normalise, params

    def forward(self, pixels: Tensor) -> Tensor:
        """The tokens of the last block after the final norm."""
        images = self.normalise(pixels.permute(0, 3, 1, 2).float() / 255)
        last = depth_of(self.network) - 1
        (tokens,) = self.network.forward_intermediates(
            images, indices=[last], norm=True, output_fmt="NCHW", intermediates_only=True
        )
        found: Tensor = tokens
        return found

    def groups(self) -> list[dict[str, Any]]:
        """Parameters by layer, each with the share of the rate that it has; without what the tokens do not depend on."""
        layers = param_groups_layer_decay(self.network, self.params.weight_decay, layer_decay=self.params.layer_decay)
        names = ("params", "weight_decay")
        return [{name: layer[name] for name in names} | {"scale": self.params.rate * layer["lr_scale"]} for layer in layers]


def train(
    features: Features,
    images: AnnotatedImages,
    detector: Detector,
    seed: int,
    *,
    backbone: Backbone | None = None,
    device: str = "cpu",
) -> list[float]:
    """Train a detector in place on the objects of each image. Returns the mean loss of each epoch.

    features: of chosen images. backbone: what they are the output of, where it is trained too.

    Images without an object take no part. Raises InvalidInput when the loss stops being finite.
    """
    params = detector.params
    detector.to(device).train()
    kept = np.array([i for i, one in enumerate(images.objects.instances) if len(one) and not one.crowd.all()], np.int64)
    decayed = [p for p in detector.parameters() if p.ndim > 1]
    plain = [p for p in detector.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": params.weight_decay, "scale": 1.0},
        {"params": plain, "weight_decay": 0.0, "scale": 1.0},
    ]
    if backbone is not None:
        backbone.to(device).train()
        # A backbone's rates are its own, on the detector's schedule.
        own = [group | {"scale": group["scale"] / params.rate} for group in backbone.groups()]
        groups += own
    trained = [p for group in groups for p in group["params"]]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.999))
    torch.manual_seed(seed)
    per_epoch = len(kept) // params.batch
    if not per_epoch:
        raise InvalidInput("params.yaml", field="detection.batch", seen=params.batch, expected=f"at most {len(kept)} images")
    curve = []
    for epoch in range(params.epochs):
        order = kept[draws.permutation(seed, f"detector{epoch}", len(kept))]
        mean = 0.0
        for step in range(per_epoch):
            rate = warmup_cosine(epoch * per_epoch + step, params.warmup_steps, per_epoch * params.epochs, params.rate)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]
            chosen = order[step * params.batch : (step + 1) * params.batch]
            _, loss = detector(features(chosen), [_target(images.instances(int(i), detector.size), device) for i in chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            mean += loss.item() / per_epoch
        if not np.isfinite(mean):
            raise InvalidInput("detector", field="loss", seen=f"{mean} in epoch {epoch}", expected="a finite loss")
        curve.append(mean)
        print(json.dumps({"epoch": epoch + 1, "loss": mean}), file=sys.stderr, flush=True)
    return curve


@torch.no_grad()
def detect(
    features: Features, images: AnnotatedImages, detector: Detector, *, device: str = "cpu", batch: int = 64
) -> list[Instances]:
    """The detections in each image, in pixels of the images as they are."""
    detector.to(device).eval()
    result = []
    for start in range(0, len(images), batch):
        chosen = np.arange(start, min(start + batch, len(images)))
        found, _ = detector(features(chosen))
        sizes = images.objects.size[chosen].tolist()
        result += [
            _instances(one, images.scale(int(i), detector.size), (height, width))
            for i, one, (height, width) in zip(chosen, found, sizes, strict=True)
        ]
    return result


def _target(objects: Instances, device: str) -> Target:
    own = ~objects.crowd
    left, top, width, height = objects.box[own].T
    boxes = np.stack([left, top, left + width, top + height], 1)
    return {
        "boxes": torch.from_numpy(boxes).float().to(device),
        "labels": torch.from_numpy(objects.category[own] + 1).to(device),
        "masks": torch.from_numpy(objects.masks()[own].astype(np.uint8)).to(device),
    }


def _instances(found: dict[str, Tensor], scale: float, size: tuple[int, int]) -> Instances:
    """Detections in an image that was resized by scale, in its own pixels. size: its height and width."""
    edge = found["boxes"].new_tensor([size[1], size[0], size[1], size[0]])
    scaled = (found["boxes"] / scale).clamp(min=0).minimum(edge)
    boxes = scaled.double().cpu().numpy()
    masks: NDArray[np.bool_] = np.zeros((0, *size), bool)
    if len(boxes):
        pasted = roi_heads.paste_masks_in_image(found["masks"], scaled, size)
        masks = (pasted[:, 0] > 0.5).cpu().numpy()
    box = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return Instances(
        box,
        tuple(encode(mask) for mask in masks),
        (found["labels"] - 1).cpu().numpy(),
        masks.sum((1, 2)).astype(np.float64),
        np.zeros(len(box), bool),
        found["scores"].double().cpu().numpy(),
    )
