"""ViTDet's Mask R-CNN of detectron2's parts on feature maps, as in the paper. The only module that imports detectron2."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from harness.artifacts.errors import BadEnvironment, InvalidInput
from harness.params.profile import DetectionParams
from harness.training.mask_rcnn import Target, canonical

# The revision that the tests were run with; the package index has none.
INSTALL = (
    "pip install 'setuptools<80' wheel ninja && pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git@02b5c4e295e990042a714712c21dc79b731e8833'"
)

try:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        from detectron2.layers import ShapeSpec
        from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
        from detectron2.modeling.backbone import Backbone as FeatureMaps
        from detectron2.modeling.backbone.vit import SimpleFeaturePyramid
        from detectron2.modeling.box_regression import Box2BoxTransform
        from detectron2.modeling.matcher import Matcher
        from detectron2.modeling.poolers import ROIPooler
        from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
        from detectron2.modeling.roi_heads import (
            FastRCNNConvFCHead,
            FastRCNNOutputLayers,
            MaskRCNNConvUpsampleHead,
            StandardROIHeads,
        )
        from detectron2.structures import BitMasks, Boxes, ImageList, Instances
        from detectron2.utils.events import EventStorage
except ImportError as error:
    raise BadEnvironment(
        "params.yaml: detection.engine", seen=error, expected="detectron2, which is installed by itself", next_step=INSTALL
    ) from error


class _Tokens(FeatureMaps):
    """Feature maps as they are, in the place of the network that detectron2's pyramid asks for."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.shape = ShapeSpec(channels=width, stride=patch)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"tokens": tokens}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"tokens": self.shape}


class VitDet(nn.Module):
    """What `mask_rcnn.MaskRCNN` is, with the same arguments and sizes."""

    def __init__(self, width: int, patch: int, size: int, classes: int, params: DetectionParams) -> None:
        super().__init__()
        self.size, self.params = size, params
        channels, convolutional = params.channels, params.heads == "convolutional"
        norm = "LN" if convolutional else ""
        self.pyramid = SimpleFeaturePyramid(
            _Tokens(width, patch), "tokens", channels, [1 / factor for factor in params.levels], norm="LN", square_pad=0
        )
        shapes = self.pyramid.output_shape()
        names, strides = list(shapes), [shape.stride for shape in shapes.values()]
        self.rpn = RPN(
            in_features=names,
            head=StandardRPNHead(in_channels=channels, num_anchors=3, conv_dims=[-1, -1] if convolutional else [-1]),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[side] for side in params.anchors], aspect_ratios=[0.5, 1.0, 2.0], strides=strides, offset=0.0
            ),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
            batch_size_per_image=params.rpn_anchors,
            positive_fraction=0.5,
            pre_nms_topk=(params.proposals[0],) * 2,
            post_nms_topk=(params.proposals[1],) * 2,
            nms_thresh=0.7,
        )

        def pooler(side: int, strides: list[int]) -> ROIPooler:
            return ROIPooler(side, [1 / stride for stride in strides], 0, "ROIAlignV2", *canonical(strides[0]))

        self.heads = StandardROIHeads(
            num_classes=classes,
            batch_size_per_image=params.rois,
            positive_fraction=0.25,
            proposal_matcher=Matcher([0.5], [0, 1], allow_low_quality_matches=False),
            box_in_features=names,
            box_pooler=pooler(7, strides),
            box_head=FastRCNNConvFCHead(
                ShapeSpec(channels=channels, height=7, width=7),
                conv_dims=[channels] * 4 if convolutional else [],
                fc_dims=[4 * channels] if convolutional else [4 * channels] * 2,
                conv_norm=norm,
            ),
            box_predictor=FastRCNNOutputLayers(
                ShapeSpec(channels=4 * channels),
                box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
                num_classes=classes,
                test_score_thresh=0.05,
                test_nms_thresh=0.5,
                test_topk_per_image=params.detections,
            ),
            mask_in_features=names[: params.masked],
            mask_pooler=pooler(14, strides[: params.masked]),
            mask_head=MaskRCNNConvUpsampleHead(
                ShapeSpec(channels=channels, height=14, width=14),
                num_classes=classes,
                # The last of them is the transposed convolution.
                conv_dims=[channels] * (5 if convolutional else 3),
                conv_norm=norm,
            ),
        )

    def forward(self, features: Tensor, targets: list[Target] | None = None) -> tuple[list[dict[str, Tensor]], Tensor]:
        """As that of `mask_rcnn.MaskRCNN`. Raises InvalidInput when the proposals stop being finite."""
        maps = self.pyramid(features)
        shapes = [(self.size, self.size)] * len(features)
        images = ImageList(features.new_zeros(len(features), 1, self.size, self.size), shapes)
        known = None if targets is None else [_objects(target, shapes[0]) for target in targets]
        with EventStorage():
            try:
                proposals, losses = self.rpn(images, maps, known)
            except FloatingPointError as error:
                raise InvalidInput("detector", field="proposals", seen=error, expected="finite numbers") from error
            found, further = self.heads(images, maps, proposals, known)
        total = sum([*losses.values(), *further.values()], start=features.new_zeros(()))
        return ([] if self.training else [_found(one) for one in found]), total


def _objects(target: Target, size: tuple[int, int]) -> Instances:
    return Instances(
        size,
        gt_boxes=Boxes(target["boxes"]),
        gt_classes=target["labels"] - 1,
        gt_masks=BitMasks(target["masks"].to(torch.bool)),
    )


def _found(detections: Instances) -> dict[str, Tensor]:
    return {
        "boxes": detections.pred_boxes.tensor,
        "labels": detections.pred_classes + 1,
        "scores": detections.scores,
        "masks": detections.pred_masks,
    }
