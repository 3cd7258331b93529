"""The pre-training loop: one optimiser, one schedule, exact resume, a k-NN curve of the method's own backbone."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from tqdm import tqdm

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.maths.neighbours import classify
from harness.params.recipes import Recipe
from harness.training import parallel, state
from harness.training.objective import Objective, Progress
from harness.training.processes import first
from harness.training.schedules import warmup_cosine


def pretrain(
    objective: Objective,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    scratch: Path,
    *,
    monitor_every: int,
    layer_decay: float = 1.0,
    until: int | None = None,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train in place, on the device, and return the curve: one row per monitored epoch (loss, k-NN accuracy).

    images: (n, 3, s, s) uint8. labels: (n,) int64, used by the k-NN monitor, and shown to an objective only where the
    recipe is labelled.
    until: stop after so many epochs of the schedule, which is that of the whole run.
    layer_decay: how much lower each layer's rate is than the next one's, from the backbone's end on.
    scratch: folder of the resumable state. An interrupted run continues from the last finished epoch, and on the same device
    ends with the same weights as an uninterrupted one; another device draws other views.
    The processes of a launch share each batch, and all of them end with the same weights.
    Raises InvalidInput when a batch does not fit the data or the processes, or the loss stops being finite, and as
    `state.restore` does.
    """
    if recipe.batch > len(images):
        raise InvalidInput("params.yaml", field="batch", seen=recipe.batch, expected=f"at most the {len(images)} images")
    parallel.refuse_unequal(objective.backbone(), recipe.batch)
    per_epoch = len(images) // recipe.batch
    total = per_epoch * recipe.epochs
    objective.to(device)
    optimiser = torch.optim.AdamW(_groups(objective, layer_decay), lr=1.0, betas=recipe.betas)
    images, labels = images.to(device), labels.to(device)
    torch.manual_seed(recipe.seed)
    parts = {"objective": objective, "optimiser": optimiser}
    kept = state.restore(scratch, parts) or {"rows": [], "epochs": 0}
    rows, start = kept["rows"], kept["epochs"]
    last = recipe.epochs if until is None else min(until, recipe.epochs)
    bar = tqdm(range(start, last), initial=start, total=last, unit="epoch", disable=not (first() and sys.stderr.isatty()))
    for epoch in bar:
        objective.train()
        order = torch.from_numpy(draws.permutation(recipe.seed, f"epoch{epoch}", len(images)))
        mean = torch.zeros((), device=device)
        for i in range(per_epoch):
            progress = Progress(epoch * per_epoch + i, per_epoch, total)
            chosen = order[i * recipe.batch : (i + 1) * recipe.batch].to(device)
            shown = (labels[chosen],) if recipe.labelled else ()
            mean += _step(objective, optimiser, recipe, images[chosen].float() / 255, progress, shown) / per_epoch
        if not torch.isfinite(mean):
            raise InvalidInput(
                "pre-training",
                field="loss",
                seen=f"{mean.item()} in epoch {epoch}, steps {epoch * per_epoch} to {(epoch + 1) * per_epoch - 1}",
                expected="a finite loss",
                next_step=f"lower base_lr; the last good state is kept in {scratch}",
            )
        if (epoch + 1) % monitor_every == 0 or epoch + 1 == recipe.epochs:
            rows.append({"epoch": epoch + 1, "loss": mean.item()} | monitor(objective, images, labels))
            if first():
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        bar.set_postfix(loss=f"{mean.item():.3f}")
        if first():
            state.save(scratch, parts, {"rows": rows, "epochs": epoch + 1})
    return rows


def _step(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    batch: Tensor,
    progress: Progress,
    labels: tuple[Tensor, ...],
) -> Tensor:
    warmup = recipe.warmup_epochs * progress.steps_per_epoch
    rate = warmup_cosine(progress.step, warmup, progress.total, recipe.base_lr * recipe.batch / 256)
    decay = objective.weight_decay(progress)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
        group["weight_decay"] = decay if group["decayed"] else 0.0
    loss = objective(batch, progress, *labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parallel.average(objective.parameters())
    if recipe.clip_grad is not None:
        nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], recipe.clip_grad)
    objective.before_update(progress)
    optimiser.step()
    objective.after_update(progress)
    return loss.detach()


def _groups(objective: Objective, layer_decay: float) -> list[dict[str, Any]]:
    """Weight decay applies to matrices only: biases, norms and tokens are left alone, as in the official recipes. Layers are
    timm's: what comes before the blocks, each block, the final norm with the last of them. What is not the backbone's has the
    whole rate, the last block layer_decay of it, and so on.
    """
    scale: dict[int, float] = {}
    if layer_decay < 1:
        layers = param_groups_layer_decay(objective.backbone(), layer_decay=layer_decay)
        scale = {id(p): layer_decay * layer["lr_scale"] for layer in layers for p in layer["params"]}
    found: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, p in objective.named_parameters():
        if p.requires_grad:
            plain = p.ndim < 2 or name.endswith(("cls_token", "pos_embed", "mask_token"))
            found.setdefault((not plain, scale.get(id(p), 1.0)), []).append(p)
    return [
        {"params": params, "decayed": decayed, "scale": share}
        for (decayed, share), params in sorted(found.items(), reverse=True)
    ]


@torch.no_grad()
def monitor(objective: Objective, images: Tensor, labels: Tensor, *, bank: int = 4096, queries: int = 1024) -> dict[str, float]:
    """20-NN accuracy of the final CLS token and of the pooled patch tokens on held-back training images; of maps, of what is
    pre-logits, and of their mean.
    """
    network = objective.backbone().eval()
    take = min(bank + queries, len(images))
    final = torch.cat([network.forward_features(objective.normalise(part.float() / 255)) for part in images[:take].split(512)])
    split = take - min(queries, take // 5)
    features: Mapping[str, Tensor] = {"knn_cls": final[:, 0], "knn_gap": final[:, 1:].mean(1)}
    if final.ndim == 4:
        features = {"knn_cls": network.forward_head(final, pre_logits=True), "knn_gap": final.mean((2, 3))}
    classes = int(labels.max()) + 1
    result = {}
    for name, x in features.items():
        answer = classify(x[:split], labels[:split], x[split:], classes=classes, k=20, temperature=0.07)
        result[name] = (answer == labels[split:take]).float().mean().item()
    return result
