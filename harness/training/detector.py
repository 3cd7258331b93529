"""Training a Mask R-CNN on the patch tokens of a vision transformer, and its detections.

With a frozen backbone the features of all images are computed once, and the detector is trained. End to end, the backbone is
trained with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from tqdm import tqdm

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.data.annotated import AnnotatedImages
from harness.data.coco import Instances, encode
from harness.models.tokens import depth_of
from harness.params.profile import DetectionParams, EndToEndParams
from harness.training import state
from harness.training.mask_rcnn import MaskRCNN, Target
from harness.training.schedules import warmup_cosine

# Indices of images (b,) to their features (b, width, h, w), in single precision on the device.
Features = Callable[[NDArray[np.int64]], Tensor]
if TYPE_CHECKING:
    from harness.training.vitdet import VitDet

    Detector = MaskRCNN | VitDet


def build_detector(width: int, patch: int, size: int, classes: int, params: DetectionParams) -> Detector:
    """The untrained detector of the engine that the parameters name; for the arguments see `mask_rcnn.MaskRCNN`.

    Raises BadEnvironment with the line that installs detectron2 where it is asked for and missing.
    """
    if params.engine == "torchvision":
        return MaskRCNN(width, patch, size, classes, params)
    from harness.training.vitdet import VitDet

    return VitDet(width, patch, size, classes, params)


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
    scratch: Path | None = None,
    device: str = "cpu",
) -> list[float]:
    """Train a detector in place on the objects of each image. Returns the mean loss of each epoch.

    features: of chosen images. backbone: the network that computes them, where it is trained too. scratch: folder of the
    state that is kept after each epoch, from which an interrupted training is resumed to the same result.

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
    curve: list[float] = []
    parts: dict[str, Any] = {"detector": detector, "optimiser": optimiser} | ({"backbone": backbone} if backbone else {})
    if scratch is not None and (known := state.restore(scratch, parts)):
        curve = known["curve"]
    for epoch in range(len(curve), params.epochs):
        order = kept[draws.permutation(seed, f"detector{epoch}", len(kept))]
        mean = 0.0
        for step in _bar(range(per_epoch), f"epoch {epoch + 1} of {params.epochs}", "step"):
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
        if scratch is not None:
            state.save(scratch, parts, {"curve": curve})
    return curve


@torch.no_grad()
def detect(
    features: Features, images: AnnotatedImages, detector: Detector, *, device: str = "cpu", batch: int = 64
) -> list[Instances]:
    """The detections in each image, in pixels of the images as they are."""
    detector.to(device).eval()
    result = []
    for start in _bar(range(0, len(images), batch), "detections", "batch"):
        chosen = np.arange(start, min(start + batch, len(images)))
        found, _ = detector(features(chosen))
        sizes = images.objects.size[chosen].tolist()
        result += [
            _instances(one, images.scale(int(i), detector.size), (height, width))
            for i, one, (height, width) in zip(chosen, found, sizes, strict=True)
        ]
    return result


def _bar(steps: range, name: str, unit: str) -> tqdm[int]:
    return tqdm(steps, desc=name, unit=unit, leave=False, disable=not sys.stderr.isatty())


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
    masks = (pasted(found["masks"], scaled, size) > 0.5).cpu().numpy()
    box = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return Instances(
        box,
        tuple(encode(mask) for mask in masks),
        (found["labels"] - 1).cpu().numpy(),
        masks.sum((1, 2)).astype(np.float64),
        np.zeros(len(box), bool),
        found["scores"].double().cpu().numpy(),
    )


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, height, width): masks (n, 1, side, side) within boxes (n, 4), read at the centres of an image's pixels; 0 outside.

    torchvision's and the original Mask R-CNN's function rounds boxes to whole pixels first, a tenth of a small object's side.
    """
    left, top, right, bottom = boxes.unsqueeze(-1).unbind(1)
    x = 2 * (torch.arange(size[1], device=boxes.device) + 0.5 - left) / (right - left) - 1
    y = 2 * (torch.arange(size[0], device=boxes.device) + 0.5 - top) / (bottom - top) - 1
    grid = torch.stack([x[:, None].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])], -1)
    return nn.functional.grid_sample(masks, grid, align_corners=False)[:, 0]
