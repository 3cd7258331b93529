"""Line: loss on the straight line through the parameters from before fine-tuning to after it."""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.finetuning_tables import LINE, TRACE
from harness.data import images
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.params.models import FINETUNED
from harness.stages.place import Place

LIBRARIES = ("torch", "timm", "numpy")
POINTS = 11


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make line/<model>: loss and answers at eleven points, on the images that CKA is measured on.

    The head goes with the parameters: from zero, to within the 2e-5 of its initialisation, where the loss is log(classes).
    Raises InvalidInput for an end that another start led to, or a head of another run.
    """
    settings, architecture = place.settings, place.params.architecture(model, place.profile)
    network = build(architecture.name, **architecture.options)
    before = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    after = checkpoint.load(place.path("checkpoints", model + FINETUNED), network, place.precision(model))
    end = {name: value.clone() for name, value in network.state_dict().items()}
    trace = store.read_arrays(place.path("trace", model), TRACE)
    refuse_other_run(place, model, before, after, trace)
    weight, bias = (torch.from_numpy(np.array(trace[f"head_{name}"])).to(device) for name in ("weight", "bias"))
    source = images.load(settings.data, "validation", settings.extract.images, settings.extract.seed)
    pixels = torch.from_numpy(source.read(np.arange(len(source)))).permute(0, 3, 1, 2).float() / 255
    inputs = normaliser(settings.data.mean, settings.data.std)(pixels).to(device)
    labels = torch.from_numpy(source.label).to(device)
    share, rows = np.linspace(0, 1, POINTS), []
    network.to(device).eval()
    for t in tqdm(share.tolist(), desc=model, unit="point", disable=not sys.stderr.isatty()):
        network.load_state_dict({name: _between(start[name], end[name], t) for name in start})
        rows.append(_answers(network, inputs, t * weight, t * bias, labels, settings.extract.batch))
    provenance = place.provenance(
        __name__,
        [architecture, settings.data, settings.extract],
        weights=after.sha256,
        inputs={
            f"checkpoints/{model}": before.sha256,
            f"checkpoints/{model}{FINETUNED}": after.sha256,
            f"trace/{model}": trace.sha256,
        },
        libraries=LIBRARIES,
    )
    loss, right = (torch.stack(column).cpu().numpy() for column in zip(*rows, strict=True))
    arrays = {"share": share, "loss": loss, "right": right.astype(np.uint8)}
    store.write_arrays(place.path("line", model), LINE, arrays, provenance)


def refuse_other_run(place: Place, model: str, before: store.Arrays, after: store.Arrays, trace: store.Arrays) -> None:
    """Raise InvalidInput unless the end and the trace are of one run, and it started at the model."""
    came = after.provenance.inputs.get(f"checkpoints/{model}", "no checkpoint")
    if came != before.sha256:
        path, expected = place.path("checkpoints", model + FINETUNED), f"the one that {model} is now, {before.sha256[:12]}"
        raise InvalidInput(path, field="its start", seen=came[:12], expected=expected, next_step=store.REBUILD)
    runs = [(one.provenance.parameters, one.provenance.inputs) for one in (after, trace)]
    if runs[0] != runs[1]:
        path, expected = place.path("trace", model), f"that of {model}{FINETUNED}, {runs[0][0][:12]}"
        raise InvalidInput(path, field="its run", seen=runs[1][0][:12], expected=expected, next_step=store.REBUILD)


@torch.inference_mode()
def _answers(
    network: nn.Module, inputs: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, batch: int
) -> tuple[Tensor, Tensor]:
    """Of each image, the cross-entropy and whether it is answered right."""
    final = torch.cat([network.forward_features(part)[:, 0] for part in inputs.split(batch)])
    logits = F.linear(final, weight, bias)
    return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels


def _between(a: Tensor, b: Tensor, share: float) -> Tensor:
    return torch.lerp(a, b, share) if a.is_floating_point() else b
