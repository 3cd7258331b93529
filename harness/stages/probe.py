"""Probe: linear and deeper classifiers on the frozen CLS token, alone and concatenated with those of other blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.tables import PROBE, TOKENS, pack
from harness.data import images
from harness.models import checkpoint
from harness.models.build import build, normalisation, normaliser
from harness.models.represent import represent
from harness.params.models import Embeddings
from harness.params.profile import ProbeParams
from harness.stages import summary
from harness.stages.place import Place
from harness.training.augment import reconstruction_view
from harness.training.codelength import online_code
from harness.training.probes import Configuration, Fitted, fit, grid
from harness.training.processes import first, one_thread, shared_out

Array = NDArray[np.generic]
LIBRARIES = ("torch", "timm", "kornia", "numpy", "scikit-learn")
# Feature sets by which the labels are coded.
CODED = ("final", "all")
# Classes of the best final head's ranking that are kept of each image.
RANKS = 10


class FeatureSet(NamedTuple):
    """What a probe is trained on: a token ("cls" or "gap"), and layers: blocks, and their number for the pre-logits.

    projection: seed of a random projection of them to the width of one layer.
    """

    name: str
    token: str
    layers: tuple[int, ...]
    depth: int = 1
    projection: int | None = None


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make probes/<model>: each feature set's grid on a hold-out of the training images, and its best again on validation.

    Embeddings have no augmented views, since their network is not here.
    A CPU's cores share the feature sets, or the processes of a launcher, `torchrun --nproc-per-node 8 -m harness probe ...`.
    """
    settings, chosen, given = place.settings, place.settings.probe, place.params.weights(model, place.profile)
    architecture = None if isinstance(given, Embeddings) else place.params.architecture(model, place.profile)
    bank = summary.bank(place, model)
    inputs = {f"summaries/{model}": summary.sha256(place, model)}

    layout = Layout.of(bank)

    def kept(name: str) -> Array:
        """(n, features) float16, or (n,)"""
        return np.array(bank[name][: chosen.images] if name.startswith("train") else bank[name])

    labels = {name: kept(f"{name}_label") for name in ("train", "validation")}
    held = labels["train"][len(labels["train"]) - round(chosen.holdout * len(labels["train"])) :]
    if len(np.unique(held)) < 2:
        seen_there = f"{len(held)} images of {len(np.unique(held))} classes"
        raise InvalidInput("probe", field="holdout", seen=seen_there, expected="at least 2 classes to choose by: more images")
    seen = {"plain": kept("train"), "validation": kept("validation")}
    if chosen.views and architecture is not None:
        network = build(architecture.name, **architecture.options)
        weights = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
        inputs[f"checkpoints/{model}"] = weights.sha256
        size = settings.data.size
        colours = normalisation(given, settings.data)
        augmented = nn.Sequential(reconstruction_view(size, chosen.crop), normaliser(*colours)).to(device)
        train = images.load(settings.data, "train", chosen.images, settings.extract.seed)
        torch.manual_seed(chosen.seed)
        parts = [represent(network, augmented, train, settings.extract.batch, device=device) for _ in range(chosen.views)]
        with one_thread(device):
            seen["views"] = np.stack([np.concatenate([part.features for part in view]) for view in parts])
    else:
        seen["views"] = seen["plain"][None]
    table = grid(chosen.rates, chosen.decays, chosen.l1, chosen.warmups, chosen.epochs)
    sets = feature_sets(layout, chosen.depths, chosen.projections)
    row = partial(_row, layout=layout, seen=seen, labels=labels, table=table, params=chosen, device=device)
    rows = shared_out(sets, row, unit="feature set", device=device)
    if not first():
        return
    values = {name: np.stack([row[name] for row in rows]) for name in ("holdout", "validation", "best", "right")}
    values |= {
        "top": next(row["top"] for row, s in zip(rows, sets, strict=True) if s.name == "final"),
        "code": np.stack([row["code"] for row, s in zip(rows, sets, strict=True) if s.name in CODED]),
        "coded": pack([s.name for s in sets if s.name in CODED]),
        "label": np.asarray(bank["validation_label"], np.int16),
        "sets": pack([s.name for s in sets]),
        "configurations": np.array([list(vars(c).values()) for c in table], np.float64),
    }
    provenance = place.provenance(
        __name__,
        [architecture, settings.data, settings.extract, chosen],
        images=bank.provenance.images,
        inputs=inputs,
        libraries=LIBRARIES,
    )
    store.write_arrays(place.path("probes", model), PROBE, values, provenance)


def feature_sets(layout: Layout, depths: tuple[int, ...], projections: int) -> list[FeatureSet]:
    """The final CLS token alone, with each block's, with all blocks', deeper probes on it, and the mean patch token; and random
    projections of all blocks' to the width of the last, which have what is in the other blocks but no more dimensions.
    A network without a CLS token is probed by its pooled maps, and by linear probes alone: the paper probes CLS tokens.
    Embeddings are probed as they are, since they have no blocks.

    "final+11" joins the final token of twelve blocks with what it was before the final norm: as many features, none new.
    """
    token, *others = layout.tokens
    last = len(layout.widths) - 1
    all_blocks = (*range(last - 1), last)
    final = FeatureSet("final", token, (last,))
    joined = [FeatureSet(f"final+{i}", token, (i, last)) for i in range(last)] + [FeatureSet("all", token, all_blocks)]
    deeper = [FeatureSet(f"depth{d}", token, (last,), d) for d in depths]
    pooled = [FeatureSet(other, other, (last,)) for other in others]
    projected = [FeatureSet(f"projected{i}", token, all_blocks, projection=i) for i in range(projections)]
    if token != TOKENS[0]:
        return [final, *joined]
    return [final, *joined, *deeper, *pooled, *projected] if last else [final, *deeper]


def _row(
    chosen: FeatureSet,
    layout: Layout,
    seen: dict[str, Array],
    labels: dict[str, Array],
    table: list[Configuration],
    params: ProbeParams,
    device: str,
) -> dict[str, Array]:
    """The columns of one feature set."""

    def joined(x: Array) -> Tensor:
        return torch.from_numpy(layout.joined(x, chosen.token, chosen.layers))

    project = _projection(joined(seen["plain"]), chosen.projection, layout.widths[-1])

    def columns(x: Array) -> Tensor:
        return project(joined(x)).to(device)

    views = [columns(x) for x in seen["views"]]
    plain, validation = columns(seen["plain"]), columns(seen["validation"])
    kept = len(plain) - round(params.holdout * len(plain))

    def on(n: int) -> Callable[[int], Tensor]:
        return lambda epoch: views[epoch % len(views)][:n]

    label, truth = (torch.tensor(labels[name], device=device) for name in ("train", "validation"))
    classes = int(label.max()) + 1
    tried = fit(on(kept), label[:kept], classes, table, batch=params.batch, depth=chosen.depth, seed=params.seed)
    held = tried.logits(plain[kept:])
    holdout, all_validation = _accuracy(held, label[kept:]), _accuracy(tried.logits(validation), truth)
    alive = int(np.isfinite(holdout).sum())
    if alive < params.best:
        seen_there = f"{alive} of {len(table)} configurations of {chosen.name} did not diverge"
        raise InvalidInput("probe", field="configurations", seen=seen_there, expected=f"at least the {params.best} best")
    best = np.argsort(-np.where(np.isfinite(holdout), holdout, -1.0), kind="stable")[: params.best]
    # New weights and a new order: the best of many on the hold-out are partly lucky there.
    anew = _anew([table[i] for i in best], on, label, classes, chosen.depth, params)
    logits = anew(len(plain)).logits(validation)
    if not torch.isfinite(logits).all():
        raise InvalidInput("probe", field=chosen.name, seen="a best configuration that diverged anew", expected="finite logits")
    code = {}
    if chosen.name in CODED:
        # Codes are chosen as codes: what is right most often on the hold-out is sure of itself where it is wrong.
        short = _shortest(held, label[kept:])[: params.best]
        coding = _anew([table[i] for i in short], on, label, classes, chosen.depth, params)
        code["code"] = online_code(coding, plain, label, classes, params.doublings).float().cpu().numpy()
    top = logits[:, 0].topk(min(RANKS, classes), dim=1).indices
    return {
        "holdout": holdout.astype(np.float32),
        "validation": all_validation.astype(np.float32),
        "best": best.astype(np.int64),
        "right": np.packbits((logits.argmax(2) == truth[:, None]).T.cpu().numpy(), axis=1),
        "top": top.cpu().numpy().astype(np.int16),
        **code,
    }


def _anew(
    best: list[Configuration],
    on: Callable[[int], Callable[[int], Tensor]],
    label: Tensor,
    classes: int,
    depth: int,
    params: ProbeParams,
) -> Callable[[int], Fitted]:
    """n to the best configurations, trained on the first n images; each time on as many in all as there are in its epochs."""

    def train(n: int) -> Fitted:
        times = len(label) // n
        longer = [replace(c, epochs=c.epochs * times, warmup_epochs=c.warmup_epochs * times) for c in best]
        return fit(on(n), label[:n], classes, longer, batch=min(params.batch, n), depth=depth, seed=params.seed + 1)

    return train


def _projection(plain: Tensor, seed: int | None, width: int) -> Callable[[Tensor], Tensor]:
    """A random projection of a set's features to a width, of features that vary alike: else it would be of the loudest layer.

    Without a seed there is none.
    """
    if seed is None:
        return lambda x: x
    centre, spread = plain.mean(0), plain.std(0)
    # A feature that never varies has nothing to be projected.
    scale = torch.where(spread > 0, 1 / spread, 0.0)
    generator = torch.Generator().manual_seed(seed)
    onto = torch.randn(plain.shape[1], width, generator=generator) / plain.shape[1] ** 0.5
    return lambda x: ((x - centre) * scale) @ onto


def _shortest(logits: Tensor, label: Tensor) -> list[int]:
    """(n, h, classes) to the heads in the order of their mean cross-entropy, those that diverged last."""
    each = cross_entropy(logits.transpose(1, 2), label[:, None].expand(-1, logits.shape[1]), reduction="none").mean(0)
    return torch.where(torch.isfinite(each), each, torch.inf).argsort(stable=True).tolist()


def _accuracy(logits: Tensor, label: Tensor) -> NDArray[np.float64]:
    """(n, h, classes) to the share of right answers of each head, NaN where it diverged."""
    right = (logits.argmax(2) == label[:, None]).double().mean(0)
    finite = torch.isfinite(logits).flatten(2).all(2).all(0)
    return torch.where(finite, right, torch.nan).cpu().numpy()
