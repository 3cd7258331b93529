"""Each reading a second time, as plain arithmetic on arrays in which no two numbers are equal.

A claim's function and its entry here must compare the same numbers with the same margins, in the same order; so a change of a
block range, a layer type, a model, a sign or a margin in either is seen. `python -m tests.claims.mutants` tries all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import worlds
from test_planted import BASES, PLANTED, TESTS
from worlds import World

from harness.artifacts.tables import TYPES
from harness.evidence.greatest import greatest_below
from harness.evidence.resampling import DRAWS
from harness.params.profile import END_TO_END
from harness.readings.accuracy import Accuracy
from harness.readings.agreement import Agreement, MeasuredAnswers
from harness.readings.detection import DetectionAccuracy, MeasuredDetection
from harness.readings.finetune_path import FinetunePath
from harness.readings.invariance import Invariance
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.probes import MeasuredProbes, ProbeAccuracy
from harness.readings.samples import Generated, Samples
from harness.readings.sweep import Sweep

NAMES = ["moco_v3", "dino", "mae", "random", "random_learned", "moco_v3_ft", "dino_ft", "mae_ft", "msn", "msn_ft"]
NAMES += ["moco_v3_resnet50", "dino_resnet50", "fcmae", "random_resnet50", "random_convnextv2", "moco_v3_no_flip"]
QKV, NORM, AFTER, FC = (TYPES.index(kind) for kind in ("attn.qkv", "norm1", "norm2", "mlp.fc1"))
UNITS, IMAGES = 12, 64

# The numbers that a claim compares: the rule, the quantity, the margin.
Told = tuple[str, float, float]


@cache
def pair(a: str, b: str, types: int = len(TYPES), seed: int = 0) -> Pair:
    """Random HSIC1 of two models, symmetric in them."""
    i, j = NAMES.index(a), NAMES.index(b)
    if i > j:
        return pair(b, a, types, seed).transposed()
    rng = np.random.default_rng([i, j, types, seed])
    own = [np.random.default_rng([k, types]).uniform(1, 2, (types, UNITS, 12)) for k in (i, j)]
    cross = rng.uniform(0, 1, (types, UNITS, 12, 12))
    pixels = {"pixels_a": rng.uniform(0, 0.3, (types, UNITS, 12)), "pixels_b": rng.uniform(0, 0.3, (types, UNITS, 12))}
    if types == 1:
        return Pair(cross, *own, "random", types=("cls",), unit="subsets")
    return Pair(cross, *own, "random", pixels=np.full(UNITS, 0.9), **pixels)


@cache
def shared(a: str, b: str) -> Neighbourhoods:
    """Random shares of common neighbours."""
    rng = np.random.default_rng([9, *sorted((NAMES.index(a), NAMES.index(b)))])
    return Neighbourhoods(rng.uniform(0, 1, (2, 12, IMAGES)), "random")


@cache
def votes(model: str) -> Accuracy:
    """Random outcomes, another accuracy at each depth."""
    rng = np.random.default_rng([7, NAMES.index(model)])
    level = rng.uniform(0.1, 0.9, (2, 13, 1))
    return Accuracy(rng.uniform(size=(2, 13, 500)) < level, rng.uniform(size=500) < 0.7, rng.uniform(size=500) < 0.6, "random")


SETS = [
    "final",
    *(f"final+{i}" for i in range(12)),
    "all",
    *(f"depth{d}" for d in (2, 3, 4, 5)),
    "gap",
    *(f"projected{i}" for i in range(3)),
]


@cache
def probed(model: str) -> ProbeAccuracy:
    """Random outcomes of five runs, another accuracy of each feature set."""
    rng = np.random.default_rng([8, NAMES.index(model)])
    level = rng.uniform(0.1, 0.9, len(SETS))
    right = {name: rng.uniform(size=(5, 300)) < share for name, share in zip(SETS, level, strict=True)}
    holdout = dict(zip(SETS, rng.uniform(size=len(SETS)).tolist(), strict=True))
    code = {name: rng.gamma(2.0, 0.2, size=200) for name in ("final", "all")}
    return ProbeAccuracy(right, holdout, model, "random", code)


@cache
def agreement(a: str, b: str) -> Agreement:
    """Random agreement, other answers of every model."""
    i, j = sorted((NAMES.index(a), NAMES.index(b)))
    rng = np.random.default_rng([12, i, j])
    tau, chance = rng.uniform(-1, 1, (2, 2, IMAGES))
    answers = [np.random.default_rng([13, NAMES.index(name)]).integers(3, size=IMAGES) for name in (a, b)]
    return Agreement(tau, chance, np.arange(IMAGES) % 3, *answers, "random")


@cache
def finetune_path(model: str) -> FinetunePath:
    rng = np.random.default_rng([13, NAMES.index(model)])
    net, start = rng.uniform(1, 2, 12), rng.uniform(4, 5, 12)
    return FinetunePath(net, net / rng.uniform(0.3, 0.9, 12), start)


def moved(model: str, over: str) -> float:
    found = finetune_path(model)
    return float(np.mean(found.net / getattr(found, over)))


@cache
def sweep() -> Sweep:
    rng = np.random.default_rng(3)
    return Sweep(*(rng.uniform(0, 1, (8, sizes, 5)) for sizes in (4, 4, 3)), "random")


@cache
def boxed(model: str, layers: str) -> DetectionAccuracy:
    rng = np.random.default_rng([17, worlds.MODELS.index(model), len(layers)])
    # MAE alone is above the untrained networks, which is enough to read a comparison with it.
    low = 0.1 if model in worlds.UNTRAINED else 0.6 if model == "mae" else 0.05
    return DetectionAccuracy(
        low + 0.01 * rng.uniform(size=(2, 6, 1)) + 0.001 * rng.uniform(size=(2, 6, 1 + DRAWS + 30)), "random"
    )


@cache
def unmoved(model: str) -> Invariance:
    rng = np.random.default_rng([19, NAMES.index(model)])
    moved, others = rng.uniform(0, 1, (2, 2, 30)), rng.uniform(1, 2, (2, 30))
    return Invariance(("tilt", "flip"), ("gap", "cls"), moved, others, np.ones((2, 2, 30)), "random")


@cache
def drawn(model: str) -> Samples:
    rng = np.random.default_rng([23, *model.encode()])
    distance = rng.uniform(1, 2, (30, 7, 3))
    # Samples from features of the supervised network have the class that it sees in the source, others often not.
    kept = rng.uniform(size=(30, 7)) < (1.0 if model == worlds.SUPERVISED else 0.3)
    classes = kept.astype(int), np.ones(30, int), np.zeros(30, int)
    factor = np.repeat(rng.normal(size=(30, 1, 2)), 7, 1)
    return Samples(distance, ("mirror", "object", "source"), *classes, factor, ("y", "x"), np.array([0.0, 0.9]), "random")


def mirrored(model: str) -> float:
    """Share of samples that are nearer to the mirror image than to the source."""
    found = drawn(model).distance
    return float((found[:, :, 0] < found[:, :, 2]).mean())


def flipped(model: str) -> float:
    """Of the CLS token, mean distance to the mirror image over that to other images."""
    found = unmoved(model)
    return float(found.moved[1, 1].mean() / found.others[1].mean())


WORLD = replace(
    World(),
    cka=pair,
    deconfounded=lambda a, b: pair(a, b).deconfounded(),
    mutual=shared,
    cls=lambda a, b: pair(a, b, 1),
    gap=lambda a, b: pair(a, b, 1),
    knn=votes,
    probes=MeasuredProbes(probed),
    agreements=agreement,
    answers=MeasuredAnswers(agreement),
    sweep=sweep(),
    finetune_path=finetune_path,
    invariance=unmoved,
    generated=Generated(drawn, worlds.SUPERVISED),
    detection=MeasuredDetection(boxed, worlds.UNTRAINED, worlds.detectors(boxed)),
    detection_end_to_end=MeasuredDetection(boxed, worlds.UNTRAINED, worlds.detectors(boxed), END_TO_END),
)


def matrix(pair: Any) -> np.ndarray:
    """CKA (type, 12, 12) by eq. 2, or the shares of common neighbours on the diagonal of one type."""
    if isinstance(pair, Neighbourhoods):
        return np.diag(pair.share.mean((0, 2)))[None]
    top, a, b = pair.cross.sum(1), pair.self_a.sum(1), pair.self_b.sum(1)
    if pair.adjusted:
        p, q, own = pair.pixels_a.sum(1), pair.pixels_b.sum(1), pair.pixels.sum()
        top = top - p[:, :, None] * q[:, None, :] / own
        a, b = a - p**2 / own, b - q**2 / own
    return top / np.sqrt(a[:, :, None] * b[:, None, :])


def diagonal(pair: Any, first: int, last: int, types: Sequence[int] | None = None) -> float:
    """Mean over blocks first to last, both included, of one depth in both models."""
    values = matrix(pair)[slice(None) if types is None else list(types)]
    return float(np.mean([values[:, i, i] for i in range(first, last + 1)]))


def block(pair: Any, rows: tuple[int, int], columns: tuple[int, int], types: Sequence[int] | None = None) -> float:
    """Mean over a rectangle of blocks, ends included."""
    values = matrix(pair)[slice(None) if types is None else list(types)]
    return float(values[:, rows[0] : rows[1] + 1, columns[0] : columns[1] + 1].mean())


def matches(pair: Any, types: Sequence[int] | None = None) -> float:
    """Share of the rows 0-8 of all types whose largest cell is at most one block from the diagonal."""
    values = matrix(pair)[slice(None) if types is None else list(types)]
    return float(np.mean([abs(int(np.argmax(values[t, i])) - i) <= 1 for t in range(len(values)) for i in range(9)]))


def right(model: str, token: int, block: int) -> float:
    """Percent right; block 12 is the final norm's output."""
    return 100 * float(votes(model).right[token, block].mean())


def gap(token: int, block: int) -> float:
    return right("moco_v3", token, block) - right("mae", token, block)


def gathered(model: str) -> float:
    return float(np.mean([right(model, 0, i) - right(model, 1, i) for i in (9, 10, 11)]))


def fall(token: int) -> float:
    even, odd = votes("mae").right[token, :, ::2], votes("mae").right[token, :, 1::2]
    best = max(range(4), key=lambda i: even[i].mean())
    return 100 * float(odd[best].mean() - odd[11].mean())


def in_cls(one: str) -> float:
    differences = [right(one, token, 11) - right("mae", token, 11) for token in (0, 1)]
    return differences[0] - differences[1]


def nearer(m: Callable[[str, str], Any], first: int, last: int, margin: float) -> list[Told]:
    je = diagonal(m("moco_v3", "dino"), first, last)
    return [("exceeds", je - diagonal(m(one, "mae"), first, last), margin) for one in ("moco_v3", "dino")]


def quarters(m: Callable[[str, str], Any], other: str) -> list[Told]:
    p, first, last = m("mae", other), (0, 5), (6, 11)
    return [
        ("exceeds", block(p, (0, 2), first) - block(p, (0, 2), last), 0.05),
        ("exceeds", block(p, (3, 5), last) - block(p, (3, 5), first), 0.05),
        ("exceeds", block(p, (6, 11), last) - block(p, (6, 11), first), 0.05),
    ]


def order(p: Any) -> list[Told]:
    fc = diagonal(p, 0, 11, [FC])
    return [("exceeds", fc - diagonal(p, 0, 11, [kind]), 0.1) for kind in (QKV, NORM)]


def early_attention(p: Pair) -> list[Told]:
    units = np.arange(UNITS)
    choose, judge = (
        replace(
            p,
            cross=p.cross[:, u],
            self_a=p.self_a[:, u],
            self_b=p.self_b[:, u],
            pixels_a=p.pixels_a[:, u],
            pixels_b=p.pixels_b[:, u],
            pixels=p.pixels[u],
        )
        for u in (units % 4 == 0, units % 4 != 0)
    )
    cell = np.unravel_index(matrix(choose)[QKV, :9].argmax(), (9, 12))
    return [("below", float(matrix(p)[QKV, :9].max()), 0.2), ("below", float(matrix(judge)[QKV][cell]), 0.2)]


def changes() -> list[Told]:
    s, units = sweep(), np.arange(8)

    def moved(which: np.ndarray) -> np.ndarray:
        parts = [(x[which] - x[which][:, :1])[:, 1:].reshape(int(which.sum()), -1) for x in (s.batch, s.count)]
        return np.concatenate(parts, axis=1).mean(0)

    choose, judge = moved(units % 4 == 0), moved(units % 4 != 0)
    cell = abs(choose).argmax()
    return [
        ("below", float(abs(moved(units >= 0)).max()), 0.02),
        ("below", float(np.sign(choose[cell]) * judge[cell]), 0.02),
    ]


def late(m: Callable[[str, str], Any], margin: float) -> list[Told]:
    pairs = [m("moco_v3", "dino"), m("random", "random_learned")]
    return [("exceeds", diagonal(p, 0, 8) - diagonal(p, 9, 11), margin) for p in pairs]


def probe(model: str, features: str) -> float:
    """Percent right, mean of the five runs."""
    return 100 * float(probed(model).right[features].mean())


def over_final(model: str, features: str) -> float:
    return probe(model, features) - probe(model, "final")


def projected(model: str) -> float:
    return float(np.mean([over_final(model, f"projected{i}") for i in range(3)]))


def shorter(model: str) -> float:
    """Percent of a label's own length that all blocks save beside the final one."""
    return 100 * float((probed(model).code["final"] - probed(model).code["all"]).mean())


def best_of(model: str, sets: Sequence[str]) -> str:
    """The set with the best hold-out."""
    return max(sets, key=lambda name: probed(model).holdout[name])


def pair_of(model: str) -> str:
    return best_of(model, [f"final+{i}" for i in range(11)])


def deep(model: str) -> str:
    return best_of(model, ["depth3", "depth4", "depth5"])


BOTH = ("moco_v3", "dino")


def ranked(one: str, other: str, row: int, subset: str, beyond: bool) -> float:
    """Mean tau-b, or its excess over chance, over the images that the first model gets right or wrong."""
    found = agreement(one, other)
    values = found.tau[row] - (found.chance[row] if beyond else 0)
    right = found.answer == np.arange(IMAGES) % 3
    return float(values[{"all": right | True, "right": right, "wrong": ~right}[subset]].mean())


def ranks(subset: str, row: int) -> list[Told]:
    return [
        ("exceeds", ranked(a, b, row, subset, beyond) - ranked(a, "mae", row, subset, beyond), 0.0)
        for beyond in (False, True)
        for a, b in (("moco_v3", "dino"), ("dino", "moco_v3"))
    ]


def same(one: str, *, matched: bool, other: str = "moco_v3") -> float:
    found = agreement(one, other)
    label = np.arange(IMAGES) % 3
    accuracies = [float((answer == label).mean()) for answer in (found.answer, found.other)]
    return float((found.answer == found.other).mean()) / (1 - abs(accuracies[0] - accuracies[1]) if matched else 1)


def nearer_tuned(m: Callable[[str, str], Any], je: str, *, direction: bool) -> list[Told]:
    return [("exceeds", diagonal(m("mae_ft", je), 0, 11) - diagonal(m("mae", je), 0, 11), 0.0 if direction else 0.1)]


def persists(m: Callable[[str, str], Any], je: str) -> list[Told]:
    own, tuned = m("mae_ft", je), m("mae_ft", f"{je}_ft")
    return [
        ("equivalent", diagonal(own, 0, 8) - diagonal(tuned, 0, 8), 0.1),
        ("exceeds", diagonal(own, 9, 11) - diagonal(tuned, 9, 11), 0.0),
    ]


def risen(m: Callable[[str, str], Any], first: int, last: int, kind: int) -> float:
    return diagonal(m("mae_ft", "moco_v3_ft"), first, last, [kind]) - diagonal(m("mae", "moco_v3"), first, last, [kind])


def grouped(p: Any) -> float:
    kinds, lo, mid = [QKV, AFTER], (0, 3), (4, 8)
    return (block(p, lo, lo, kinds) + block(p, mid, mid, kinds) - block(p, lo, mid, kinds) - block(p, mid, lo, kinds)) / 2


def msn(je: str) -> dict[str, Callable[[Callable[[str, str], Any], bool], list[Told]]]:
    suffix = "" if je == "moco_v3" else f"-{je}"
    return {
        f"msn-pt{suffix}": lambda m, direction: [
            ("exceeds", diagonal(m("msn", je), 0, 11) - diagonal(m("msn", "mae"), 0, 11), 0.0 if direction else 0.1)
        ],
        f"msn-f1{suffix}": lambda _m, _d: [
            ("exceeds", same("msn", matched=m, other=je) - same("msn", matched=m, other="mae"), 0.02) for m in (False, True)
        ],
        f"msn-tau{suffix}": lambda _m, _d: [
            ("exceeds", ranked("msn", je, 0, "all", beyond) - ranked("msn", "mae", 0, "all", beyond), 0.0)
            for beyond in (False, True)
        ],
        f"msn-ft{suffix}": lambda m, _: [
            ("exceeds", diagonal(m("msn_ft", other), 0, 11) - 0.8 * diagonal(m("msn", je), 0, 11), 0.0)
            for other in (je, f"{je}_ft", "mae_ft")
        ],
    }


def apart(p: Pair, first: int, last: int) -> float:
    """CKA of block outputs that are so many blocks apart, mean over the cells."""
    values = matrix(p)[TYPES.index("block")]
    return float(np.mean([values[i, j] for i in range(12) for j in range(12) if first <= abs(i - j) <= last]))


def arch(je: str) -> dict[str, Callable[[Callable[[str, str], Any], bool], list[Told]]]:
    suffix = "" if je == "moco_v3" else f"-{je}"

    def far(m: Callable[[str, str], Any], cnn: str) -> list[Told]:
        own, other = m(cnn, "mae"), m(je, "mae")
        falls = [apart(p, 9, 11) - apart(p, 0, 2) for p in (own, other)]
        return [("exceeds", apart(own, 9, 11) - apart(other, 9, 11), 0.05), ("exceeds", falls[0] - falls[1], 0.0)]

    def across(m: Callable[[str, str], Any], cnn: str) -> list[Told]:
        return [("exceeds", apart(m(cnn, je), d, d) - apart(m(je, "mae"), d, d), 0.0) for d in range(12)]

    def near(m: Callable[[str, str], Any], cnn: str) -> list[Told]:
        own, other = apart(m(cnn, "mae"), 0, 2), apart(m(je, "mae"), 0, 2)
        return [("exceeds", own - other / 2, 0.0), ("exceeds", other - own / 2, 0.0)]

    # The trained networks first, then those without training.
    resnets, convnexts = (f"{je}_resnet50", "random_resnet50"), ("fcmae", "random_convnextv2")
    return {
        f"arch-je{suffix}": lambda m, _: [told for cnn in resnets for told in across(m, cnn)],
        f"obj-over-arch{suffix}": lambda m, _: [
            told for one, other in zip(resnets, convnexts, strict=True) for told in (*across(m, one), *far(m, other))
        ],
        f"arch-rec-near{suffix}": lambda m, _: [told for cnn in convnexts for told in near(m, cnn)],
        f"arch-rec-far{suffix}": lambda m, _: [told for cnn in convnexts for told in far(m, cnn)],
    }


def kept(m: Callable[[str, str], Any], model: str) -> float:
    return diagonal(m(model, f"{model}_ft"), 0, 11, [QKV])


def detected(task: int, statistic: int, model: str, layers: str = "final") -> float:
    """100 AP on all images: a task's (boxes, masks), of a statistic (0 all, 3 small, 5 large)."""
    return float(100 * WORLD.detection.of(model, layers).ap[task, statistic, 0])


def trained_leads(statistic: int, margin: float) -> list[Told]:
    """End to end, MAE minus each JE model, boxes and masks."""
    parts = [(je, task) for je in BOTH for task in (0, 1)]
    return [
        ("exceeds", detected(task, statistic, "mae", END_TO_END) - detected(task, statistic, je, END_TO_END), margin)
        for je, task in parts
    ]


def leads(rule: str, statistic: int, others: Sequence[str], margin: float) -> list[Told]:
    return [
        (rule, detected(task, statistic, "mae") - detected(task, statistic, other), margin)
        for other in others
        for task in (0, 1)
    ]


READINGS: dict[str, Callable[[Callable[[str, str], Any], bool], list[Told]]] = {
    "je-je-high": lambda m, _: [
        ("exceeds", diagonal(m(*names), 0, 8), 0.6) for names in (("moco_v3", "dino"), ("random", "random_learned"))
    ],
    "je-rec-low": lambda m, direction: nearer(m, 0, 11, 0.0 if direction else 0.1),
    "early-onset": lambda m, direction: nearer(m, 0, 3, 0.0 if direction else 0.05),
    "je-diag": lambda m, _: [
        ("exceeds", matches(m(*names)), 0.8)
        for names in (("moco_v3", "dino"), ("dino", "moco_v3"), ("random", "random_learned"), ("random_learned", "random"))
    ],
    "je-late-drop": lambda m, direction: late(m, 0.0 if direction else 0.05),
    "rec-quarter": lambda m, _: [
        told for other in ("moco_v3", "dino", "random", "random_learned") for told in quarters(m, other)
    ],
    "type-order": lambda m, _: [*order(m("random", "random_learned")), *order(m("moco_v3", "mae"))],
    "attn-nil": lambda m, _: early_attention(m("moco_v3", "mae")),
    "knn-diverge": lambda _m, _d: [
        told
        for token in (0, 1)
        for told in (
            *(("equivalent", gap(token, i), 2.0) for i in (0, 1, 2)),
            *(("exceeds", gap(token, i), 2.0) for i in range(3, 12)),
            ("exceeds", gap(token, 11) - gap(token, 3), 0.0),
        )
    ],
    "knn-decline": lambda _m, _d: [("exceeds", fall(token), 1.0) for token in (0, 1)],
    "knn-je-full": lambda _m, _d: [
        ("equivalent", right(model, 0, 12) - 100 * float(votes(model).probe_neighbours_right.mean()), 1.0)
        for model in ("moco_v3", "dino")
    ],
    "knn-cls": lambda _m, _d: [("exceeds", gathered(one) - gathered("mae"), 2.0) for one in ("moco_v3", "dino")],
    "knn-gap-closer": lambda _m, _d: [("exceeds", in_cls(one), 0.0) for one in ("moco_v3", "dino")],
    "cka-stable": lambda _m, _d: changes(),
    "replicates": lambda _m, _d: [("exceeds", 11 / 12, 0.5)],
    **{
        f"tau-{subset}-{k}": lambda _m, _d, subset=subset, row=row: ranks(subset, row)
        for subset in ("all", "right", "wrong")
        for row, k in enumerate((5, 10))
    },
    "f1": lambda _m, _d: [("exceeds", same("dino", matched=m) - same("mae", matched=m), 0.02) for m in (False, True)],
    "path": lambda _m, _d: [("exceeds", moved("mae", "length") - moved(je, "length"), 0.0) for je in BOTH],
    "det-moco": lambda _m, _d: leads("exceeds", 0, ["moco_v3"], 0.5),
    "det-dino-nomc": lambda _m, _d: leads("exceeds", 0, ["dino_nomc"], 0.0),
    "det-dino-mc": lambda _m, _d: leads("below", 0, ["dino"], 0.0),
    "det-small": lambda _m, _d: leads("exceeds", 3, ["moco_v3", "dino_nomc"], 0.5),
    "det-large": lambda _m, _d: leads("below", 5, ["moco_v3", "dino_nomc"], 0.0),
    "det-inter": lambda _m, _d: [
        ("exceeds", detected(task, 0, model, "final+9+10") - detected(task, 0, model), 0.0)
        for model in (*BOTH, "mae")
        for task in (0, 1)
    ],
    "opposite": lambda _m, _d: [
        *(("exceeds", probe(je, "final") - probe("mae", "final"), 5.0) for je in BOTH),
        *leads("exceeds", 0, ["moco_v3"], 0.5),
        *leads("exceeds", 0, ["dino_nomc"], 0.0),
    ],
    "detft-best": lambda _m, _d: trained_leads(0, 1.0),
    "detft-large": lambda _m, _d: trained_leads(5, 0.0),
    "detft-small": lambda _m, _d: trained_leads(3, 0.0),
    "rcdm-je": lambda _m, _d: [
        *(("exceeds", mirrored(je), 0.3) for je in BOTH),
        *(("below", mirrored(je), 0.7) for je in BOTH),
    ],
    "rcdm-mae": lambda _m, _d: [
        ("below", mirrored("mae"), 0.1),
        *(("exceeds", mirrored(je) - mirrored("mae"), 0.2) for je in BOTH),
    ],
    "rcdm-ft": lambda _m, _d: [("exceeds", mirrored("mae_ft") - mirrored("mae"), 0.2)],
    "rcdm-je/features": lambda _m, _d: [("below", flipped(je), 0.5) for je in BOTH],
    "rcdm-mae/features": lambda _m, _d: [("exceeds", flipped("mae") - flipped(je), 0.2) for je in BOTH],
    "flip-cause": lambda _m, _d: [("exceeds", probe("moco_v3", "final") - probe("moco_v3_no_flip", "final"), 1.0)],
    "flip-cause/features": lambda _m, _d: [("exceeds", flipped("moco_v3_no_flip") - flipped("moco_v3"), 0.2)],
    "rcdm-ft/features": lambda _m, _d: [("exceeds", flipped("mae") - flipped("mae_ft"), 0.2)],
    "je-still": lambda _m, _d: [("exceeds", moved("mae", "start") - moved(je, "start"), 0.0) for je in BOTH],
    **arch("moco_v3"),
    **arch("dino"),
    **msn("moco_v3"),
    **msn("dino"),
    "ft-to-moco": lambda m, direction: nearer_tuned(m, "moco_v3", direction=direction),
    "ft-to-dino": lambda m, direction: nearer_tuned(m, "dino", direction=direction),
    "ft-near-moco": lambda m, _: [("exceeds", diagonal(m("mae_ft", "moco_v3"), 0, 11), 0.6)],
    "ft-near-dino": lambda m, _: [("exceeds", diagonal(m("mae_ft", "dino"), 0, 11), 0.6)],
    "ft-both": lambda m, _: persists(m, "moco_v3"),
    "ft-both-dino": lambda m, _: persists(m, "dino"),
    "ft-attn-ln": lambda m, _: [("exceeds", risen(m, 0, 11, kind), 0.1) for kind in (QKV, AFTER)],
    "ft-attn-top": lambda m, _: [
        ("exceeds", diagonal(m("mae_ft", "moco_v3_ft"), 0, 11, [kind]) - diagonal(m("mae_ft", "moco_v3_ft"), 0, 11, [FC]), 0.0)
        for kind in (QKV, AFTER)
    ],
    "ft-fc-split": lambda m, _: [("exceeds", risen(m, 0, 8, FC), 0.0), ("exceeds", -risen(m, 9, 11, FC), 0.0)],
    "ft-attn-diag": lambda m, _: [
        ("exceeds", matches(m(*names), [QKV, AFTER]), 0.8)
        for models in (("mae_ft", "moco_v3_ft"), ("random", "random_learned"))
        for names in (models, models[::-1])
    ],
    "ft-attn-block": lambda m, _: [
        ("exceeds", grouped(m(*names)), 0.0) for names in (("mae_ft", "moco_v3_ft"), ("random", "random_learned"))
    ],
    "ft-mid": lambda m, _: [("exceeds", diagonal(m("mae_ft", f"{je}_ft"), 3, 10, [QKV]), 0.6) for je in BOTH],
    "je-ft-stable": lambda m, _: [("exceeds", kept(m, je) - kept(m, "mae"), 0.1) for je in BOTH],
    "ft-inter-null": lambda _m, _d: [
        ("equivalent", over_final("mae_ft", pair_of("mae_ft")), 0.5),
        ("exceeds", over_final("mae", pair_of("mae")), 1.0),
    ],
    "lp-order": lambda _m, _d: [("exceeds", probe(je, "final") - probe("mae", "final"), 5.0) for je in BOTH],
    "nlp-je-small": lambda _m, _d: [("below", over_final(je, "depth2"), 0.75) for je in BOTH],
    "nlp-je-flat": lambda _m, _d: [("below", probe(je, deep(je)) - probe(je, "depth2"), 0.2) for je in BOTH],
    "nlp-mae-gain": lambda _m, _d: [
        *(("exceeds", over_final("mae", "depth3") - over_final(je, "depth2"), 0.0) for je in BOTH),
        ("exceeds", over_final("mae", "depth3"), 0.75),
    ],
    "nlp-mae-below": lambda _m, _d: [("exceeds", probe(je, "final") - probe("mae", "depth3"), 3.0) for je in BOTH],
    "inter-mae": lambda _m, _d: [("exceeds", over_final("mae", pair_of("mae")), 1.0)],
    "inter-je-null": lambda _m, _d: [("equivalent", over_final(je, pair_of(je)), 0.5) for je in BOTH],
    "wide-control": lambda _m, _d: [("equivalent", over_final(model, "final+11"), 0.3) for model in (*BOTH, "mae")],
    "all-mae": lambda _m, _d: [
        ("exceeds", over_final("mae", "all"), 1.5),
        ("exceeds", probe("mae", "all") - probe("mae", pair_of("mae")), 0.0),
    ],
    "all-je-drop": lambda _m, _d: [("below", over_final(je, "all"), 0.0) for je in BOTH],
    "all-mae-same-width": lambda _m, _d: [("exceeds", projected("mae"), 1.5)],
    "all-je-same-width": lambda _m, _d: [("below", projected(je), 0.0) for je in BOTH],
    "all-mae-code": lambda _m, _d: [("exceeds", shorter("mae"), 1.5)],
    "all-je-code": lambda _m, _d: [("below", shorter(je), 0.0) for je in BOTH],
}


def test_every_claim_that_artifacts_decide_has_its_reading_here() -> None:
    assert {id.split("/")[0] for id in READINGS} == {BASES[id] for id in PLANTED}


# A maximum over blocks lies in one of them: early in the one world, in the middle in the other.
EARLY, MIDDLE = 0, 3
WORLDS = {
    EARLY: WORLD,
    MIDDLE: replace(
        WORLD, cka=lambda a, b: pair(a, b, seed=MIDDLE), deconfounded=lambda a, b: pair(a, b, seed=MIDDLE).deconfounded()
    ),
}


def test_the_largest_attention_lies_early_in_one_world_and_in_the_middle_in_the_other() -> None:
    for adjusted in (False, True):
        rows = []
        for world in WORLDS.values():
            p = (world.deconfounded if adjusted else world.cka)("moco_v3", "mae")
            rows.append(int(np.unravel_index(matrix(p)[QKV, :9].argmax(), (9, 12))[0]))
        assert rows[0] in range(4)
        assert rows[1] in range(4, 9)


@pytest.mark.parametrize("seed", WORLDS)
@pytest.mark.parametrize("id", PLANTED)
def test_a_claim_compares_what_its_reading_says(id: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    test, world = TESTS[id], WORLDS[seed]
    base, _, second = id.partition("/")
    module = sys.modules[TESTS[base].__module__]
    told: list[Told] = []

    def spy(rule: str, decide: Callable[..., Any]) -> Callable[..., Any]:
        def spied(estimate: Any, margin: float) -> Any:
            told.append((rule, estimate.value, float(margin)))
            return decide(estimate, margin)

        return spied

    def greatest(cells: Sequence[Any], choose: Sequence[Any], judge: Sequence[Any], margin: float) -> Any:
        chosen = max(range(len(choose)), key=lambda i: choose[i].value)
        told.extend(("below", value, float(margin)) for value in (max(cell.value for cell in cells), judge[chosen].value))
        return greatest_below(cells, choose, judge, margin)

    for rule in ("exceeds", "below", "equivalent"):
        if hasattr(module, rule):
            monkeypatch.setattr(module, rule, spy(rule, getattr(module, rule)))
    monkeypatch.setattr(module, "greatest_below", greatest, raising=False)
    worlds.judge(test, world, test.claim.margin)
    measure = second if second in worlds.MEASURES else "cka"
    expected = READINGS[id if id in READINGS else base](getattr(world, measure), second in ("mutual", "cls", "gap"))
    assert [rule for rule, *_ in told] == [rule for rule, *_ in expected]
    np.testing.assert_allclose([numbers for _, *numbers in told], [numbers for _, *numbers in expected], rtol=1e-9, atol=1e-12)


ASKS = {
    "difference": {"je-rec-low", "early-onset", "je-late-drop", "rec-quarter", "type-order"}
    | {"knn-diverge", "knn-cls", "knn-gap-closer", "lp-order", "nlp-mae-below", "f1", "path", "je-still"}
    | {"rcdm-mae", "flip-cause"}
    | {"detft-best", "detft-large", "detft-small"}
    | {"det-moco", "det-dino-nomc", "det-dino-mc", "det-small", "det-large"}
    | {f"tau-{subset}-{k}" for subset in ("all", "right", "wrong") for k in (5, 10)}
    | {"ft-to-moco", "ft-to-dino", "ft-both", "ft-both-dino", "ft-attn-ln", "ft-attn-top", "ft-fc-split", "je-ft-stable"}
    | {f"msn-{what}{suffix}" for what in ("pt", "f1", "tau") for suffix in ("", "-dino")}
    | {f"{what}{suffix}" for what in ("arch-je", "arch-rec-far", "obj-over-arch") for suffix in ("", "-dino")},
    "level": {"je-je-high", "attn-nil", "ft-near-moco", "ft-near-dino", "ft-mid"},
    "match": {"je-diag", "ft-attn-diag", "ft-attn-block"},
    "trait": {"knn-decline", "knn-je-full", "cka-stable", "replicates", "nlp-je-small", "nlp-je-flat", "nlp-mae-gain"}
    | {"inter-mae", "inter-je-null", "wide-control", "all-mae", "all-je-drop"}
    | {
        "arch-rec-near",
        "arch-rec-near-dino",
        "msn-ft",
        "msn-ft-dino",
        "ft-inter-null",
        "all-mae-same-width",
        "all-je-same-width",
        "all-mae-code",
        "all-je-code",
        "det-inter",
        "opposite",
        "rcdm-je",
        "rcdm-ft",
    },
}
BLOCKS = {"je-je-high": (0, 8), "attn-nil": (0, 8), "je-diag": (0, 8), "early-onset": (0, 3)}
BLOCKS |= {"ft-attn-diag": (0, 8), "ft-attn-block": (0, 8), "ft-mid": (3, 10)}


@pytest.mark.parametrize("id", PLANTED)
def test_a_claim_asks_of_the_instrument_what_its_reading_needs(id: str) -> None:
    stated = TESTS[id].claim
    assert BASES[id] in ASKS[stated.asks]
    first, last = BLOCKS.get(BASES[id], (0, 11))
    assert stated.blocks == tuple(range(first, last + 1))
    assert stated.about == ("artifacts" if id in ("cka-stable", "replicates") else "methods")


def test_the_main_findings_are_these() -> None:
    """Of the paper's abstract, its list of contributions and its captions in bold."""
    main = "det-inter det-moco detft-large early-onset ft-attn-top ft-inter-null ft-to-moco inter-je-null inter-mae"
    main += " je-je-high je-rec-low knn-cls knn-decline lp-order nlp-mae-gain obj-over-arch opposite path rcdm-je rcdm-mae"
    main += " type-order"
    assert {id for id, test in TESTS.items() if test.claim.main} == set(main.split())
