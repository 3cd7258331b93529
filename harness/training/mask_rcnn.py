"""A Mask R-CNN of torchvision's parts on feature maps: ViTDet's simple feature pyramid (Li et al., 2022) under its heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from harness.params.profile import DetectionParams

Target = dict[str, Tensor]


def canonical(stride: float) -> tuple[int, int]:
    """The side of an object that is read at the finest level of a pyramid, which has this stride, and that level.

    The defaults of both engines are made for objects of 224 pixels at stride 16: all small ones would go to one level.
    """
    return int(8 * stride), round(math.log2(stride))


class Pyramid(nn.Module):
    """ViTDet's simple feature pyramid: one map of the patch tokens to maps at several strides.

    width: channels of the tokens. factors: of each level, its stride over the patch's side: 1/4, 1/2, 1 or 2. channels: of
    every level. Input (b, width, h, w), output by level a map (b, channels, h / factor, w / factor).
    """

    def __init__(self, width: int, factors: Sequence[float], channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleDict({str(i): self._level(width, factor, channels) for i, factor in enumerate(factors)})

    @staticmethod
    def _level(width: int, factor: float, channels: int) -> nn.Sequential:
        half, quarter = width // 2, width // 4
        up = nn.ConvTranspose2d(width, half, 2, stride=2)
        resized: dict[float, tuple[list[nn.Module], int]] = {
            0.25: ([up, LayerNorm2d(half), nn.GELU(), nn.ConvTranspose2d(half, quarter, 2, stride=2)], quarter),
            0.5: ([up], half),
            1: ([], width),
            2: ([nn.MaxPool2d(2)], width),
        }
        resize, found = resized[factor]
        project = [nn.Conv2d(found, channels, 1, bias=False), LayerNorm2d(channels)]
        smooth = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), LayerNorm2d(channels)]
        return nn.Sequential(*resize, *project, *smooth)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {name: level(tokens) for name, level in self.levels.items()}


class MaskRCNN(nn.Module):
    """The pyramid, a region proposal network and heads for boxes and masks.

    width: channels of the features. patch: side of a patch in pixels. size: side of an image. classes: without the background.
    """

    def __init__(self, width: int, patch: int, size: int, classes: int, params: DetectionParams) -> None:
        super().__init__()
        self.size, self.params = size, params
        channels, names = params.channels, [str(i) for i in range(len(params.levels))]
        convolutional = params.heads == "convolutional"
        self.pyramid = Pyramid(width, params.levels, channels)
        anchors = AnchorGenerator(tuple((side,) for side in params.anchors), ((0.5, 1.0, 2.0),) * len(params.anchors))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0], conv_depth=2 if convolutional else 1),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=params.rpn_anchors,
            positive_fraction=0.5,
            pre_nms_top_n=dict.fromkeys(("training", "testing"), params.proposals[0]),
            post_nms_top_n=dict.fromkeys(("training", "testing"), params.proposals[1]),
            nms_thresh=0.7,
        )
        side, level = canonical(patch * params.levels[0])
        # A bin has as many samples as pixels of the map, as in detectron2's engine; torchvision's default is 2 x 2.
        align = {"sampling_ratio": -1, "canonical_scale": side, "canonical_level": level}
        self.heads = RoIHeads(
            MultiScaleRoIAlign(names, 7, **align),
            FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [4 * channels], LayerNorm2d)
            if convolutional
            else TwoMLPHead(channels * 49, 4 * channels),
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
            mask_head=MaskRCNNHeads(
                channels, [channels] * (4 if convolutional else 2), 1, LayerNorm2d if convolutional else None
            ),
            mask_predictor=MaskRCNNPredictor(channels, channels, classes + 1),
        )

    def forward(self, features: Tensor, targets: list[Target] | None = None) -> tuple[list[dict[str, Tensor]], Tensor]:
        """features: (b, width, h, w). targets: of each image `boxes` (n, 4) as corners in pixels of the input, `labels` (n,)
        from 1 and `masks` (n, s, s). Returns detections (none while it trains) and the loss.

        A detection has `boxes`, `labels`, `scores` and `masks` (n, 1, side, side), each the probability within its box.
        """
        shapes = [(self.size, self.size)] * len(features)
        images = ImageList(features.new_zeros(len(features), 1, self.size, self.size), shapes)
        if targets is not None:
            # torchvision samples features and masks as if the centre of pixel i lay at i, not at i + 0.5.
            targets = [target | {"boxes": target["boxes"] - 0.5} for target in targets]
        maps = self.pyramid(features)
        proposals, losses = self.rpn(images, maps, targets)
        found, further = self.heads(maps, proposals, shapes, targets)
        total = sum([*losses.values(), *further.values()], start=features.new_zeros(()))
        # A box that was cut at the edge of the image reaches it.
        return [one | {"boxes": torch.where(one["boxes"] > 0, one["boxes"] + 0.5, 0)} for one in found], total
