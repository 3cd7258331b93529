"""Every claim is SUPPORTED where its effect was planted, and on none of its negative controls."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import worlds
from worlds import JE, REC, World, judge, pair

from harness.artifacts.tables import TYPES
from harness.evidence.decide import State
from harness.params.models import FINETUNED, start_of
from harness.params.profile import END_TO_END
from harness.readings.agreement import Agreement, MeasuredAnswers
from harness.readings.detection import DetectionAccuracy, MeasuredDetection
from harness.readings.finetune_path import FinetunePath
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.probes import MeasuredProbes, ProbeAccuracy
from harness.readings.samples import Generated, Samples

CLAIMS = Path(__file__).parents[2] / "claims"
# One world for all claims: its instrument keeps what it has found.
EFFECT = World()


def renamed(names: dict[str, str]) -> World:
    """The planted world with other models under these names."""

    def named(model: str) -> str:
        """Who is renamed is so when fine-tuned, unless that has another name."""
        start = start_of(model)
        return names.get(model, names.get(start, start) + model.removeprefix(start))

    world = World()
    told = world.remade(lambda measure: lambda a, b: measure(named(a), named(b)))
    probes = MeasuredProbes(lambda model: worlds.probe_accuracy(named(model)))
    told = replace(told, knn=lambda model: world.knn(named(model)), probes=probes)
    told = replace(told, finetune_path=lambda model: world.finetune_path(named(model)))
    told = replace(told, invariance=lambda model: world.invariance(named(model)))
    # Who judges samples is not renamed.
    judge = world.generated.judge
    drawn = Generated(lambda model: world.generated.of(model if model == judge else named(model)), judge)
    told = replace(told, generated=drawn)
    told = replace(told, detection=detected(lambda model, layers: worlds.detection(named(model), layers)))
    trained = detected(lambda model, layers: worlds.detection(named(model), layers), END_TO_END)
    told = replace(told, detection_end_to_end=trained)
    return with_agreements(told, lambda a, b: worlds.agreement(named(a), named(b)))


def detected(of: Callable[[str, str], DetectionAccuracy], layers: str = "final") -> MeasuredDetection:
    """Detectors of these accuracies, beside untrained networks as they are planted."""
    raw = worlds.UNTRAINED

    def planted(model: str, layers: str) -> DetectionAccuracy:
        return (worlds.detection if model in raw else of)(model, layers)

    return MeasuredDetection(planted, raw, worlds.detectors(planted), layers)


def hardly_trained(model: str, layers: str) -> DetectionAccuracy:
    """O: detectors after a tenth of their training, of which none reaches half of AP50."""
    found = worlds.detection(model, layers)
    return replace(found, ap=0.4 * found.ap)


def areas_swapped(model: str, layers: str) -> DetectionAccuracy:
    """O: small objects in the place of large ones."""
    found = worlds.detection(model, layers)
    return replace(found, ap=found.ap[:, [0, 1, 2, 5, 4, 3]])


def copied(share: float) -> World:
    """O: of every model's samples this share are copies of the mirror image, and the others of the source.

    Features move under a flip as those do that have such samples: not at all where half of them are mirrored.
    """

    def of(model: str) -> Samples:
        found = worlds.samples(model)
        mirrored = np.arange(found.distance.shape[1]) < share * found.distance.shape[1]
        distance = np.where(mirrored[:, None], [400.0, 0.0], [0.0, 400.0])
        return replace(found, distance=np.broadcast_to(distance, found.distance.shape).copy())

    like = "moco_v3" if share == 0.5 else "mae"
    generated = Generated(of, worlds.SUPERVISED)
    return replace(World(), generated=generated, invariance=lambda model: worlds.invariance(like))


def frozen_instead(model: str, layers: str) -> DetectionAccuracy:
    """O: the order that frozen features have, with a backbone's higher level."""
    found = worlds.detection(model, "final")
    return replace(found, ap=found.ap + 0.2)


def one_layer(model: str, layers: str) -> DetectionAccuracy:
    """O: no more than the final block of a frozen network, whichever blocks are asked for."""
    return worlds.detection(model, layers if layers == END_TO_END else "final")


def with_agreements(world: World, agreements: Callable[[str, str], Agreement]) -> World:
    """The world with another agreement of every two models."""
    return replace(world, agreements=agreements, answers=MeasuredAnswers(agreements))


def permuted(*, after: bool = False) -> World:
    """P: other images for the second model; after: only where one of the two is fine-tuned."""

    def null(a: str, b: str) -> Pair:
        return pair(a, b, permuted=not after or FINETUNED in a + b)

    return replace(World(), cka=null, deconfounded=lambda a, b: null(a, b).deconfounded())


def one_artifact() -> World:
    """Q: one artifact in both roles, JE with JE and JE with REC."""
    return World().remade(lambda measure: lambda a, b: measure("moco_v3", "dino"))


def constant() -> World:
    """O: as similar at all depths."""

    def flat(measured: Pair | Neighbourhoods) -> Pair | Neighbourhoods:
        if isinstance(measured, Neighbourhoods):
            return replace(measured, share=np.full_like(measured.share, 0.5))
        one = np.ones_like(measured.self_a)
        bare = replace(measured, adjusted=False)
        return replace(bare, cross=np.full_like(measured.cross, 0.5), self_a=one, self_b=one)

    return World().mapped(flat)


def reversed_depth(measured: Pair) -> Pair:
    assert measured.pixels_b is not None
    return replace(
        measured,
        cross=measured.cross[..., ::-1],
        self_b=measured.self_b[..., ::-1],
        pixels_b=measured.pixels_b[..., ::-1],
    )


def rolled_types(by: int) -> World:
    """O: the layer types' names shuffled."""

    def roll(measured: Pair) -> Pair:
        names = ("cross", "self_a", "self_b", "pixels_a", "pixels_b")
        return replace(measured, **{name: np.roll(getattr(measured, name), by, axis=0) for name in names})

    return World().mapped(roll)


def only_pixels() -> World:
    """Models that have nothing but the input's own similarity in common."""
    world = World()
    return replace(world, cka=lambda a, b: pair(a, b, "pixels"), deconfounded=lambda a, b: pair(a, b, "pixels").deconfounded())


def votes(change: Callable[..., object]) -> World:
    """The planted world with every model's outcomes (token, depth, image) changed."""
    return replace(World(), knn=lambda model: replace(worlds.knn(model), right=change(worlds.knn(model).right)))


def probes(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> World:
    """The planted world with the outcomes of every model's probes changed, by feature set."""

    def changed(model: str) -> ProbeAccuracy:
        accuracy = worlds.probe_accuracy(model)
        right = change(dict(accuracy.right))
        return replace(accuracy, right=right, holdout={name: float(array.mean()) for name, array in right.items()})

    return replace(World(), probes=MeasuredProbes(changed))


PROJECTED = [f"projected{i}" for i in range(3)]


def one_code() -> World:
    """Q: labels cost the same by all features."""

    def changed(model: str) -> ProbeAccuracy:
        accuracy = worlds.probe_accuracy(model)
        return replace(accuracy, code=dict.fromkeys(accuracy.code, accuracy.code["final"]))

    return replace(World(), probes=MeasuredProbes(changed))


def more(points: float, *sets: str) -> World:
    """O: so many points injected into these feature sets."""

    def inject(right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        out = dict(right)
        for name in sets:
            wrong = ~right[name]
            extra = wrong & (np.cumsum(wrong, axis=1) <= points / 100 * wrong.shape[1])
            out[name] = right[name] | extra
        return out

    return probes(inject)


def by_class_alone() -> World:
    """O: rankings that agree in what accuracies and confusions by class give, and in nothing else."""

    def changed(a: str, b: str) -> Agreement:
        found = worlds.agreement(a, b)
        return replace(found, chance=found.tau - np.random.default_rng(0).normal(scale=0.01, size=found.tau.shape))

    return with_agreements(World(), changed)


def same_as(source: str, *sets: str) -> World:
    """O: these feature sets replaced by another."""
    return probes(lambda right: right | {name: right[source] for name in sets})


def turned(finetune_path: FinetunePath) -> FinetunePath:
    """O: ways as crooked as they were straight."""
    return replace(finetune_path, length=finetune_path.net / (1.3 - finetune_path.net / finetune_path.length))


def blocks_reversed(right):
    return np.concatenate([right[:, 11::-1], right[:, 12:]], axis=1)


def final_is_block_3(right):
    return np.concatenate([right[:, :12], right[:, 3:4]], axis=1)


def late_first() -> World:
    """O: all models' depths the other way round."""

    def reversed_both(measured: Pair) -> Pair:
        once = reversed_depth(measured)
        assert once.pixels_a is not None
        return replace(once, cross=once.cross[..., ::-1, :], self_a=once.self_a[..., ::-1], pixels_a=once.pixels_a[..., ::-1])

    return World().mapped(reversed_both)


def fully_connected() -> World:
    """O: what fully connected layers do, in the place of every type."""

    def one_type(measured: Pair) -> Pair:
        names, fc1 = ("cross", "self_a", "self_b", "pixels_a", "pixels_b"), TYPES.index("mlp.fc1")
        return replace(measured, **{name: np.stack([getattr(measured, name)[fc1]] * len(TYPES)) for name in names})

    return World().mapped(one_type)


def not_tuned() -> World:
    """O: fine-tuning changed nothing."""
    return renamed({model + FINETUNED: model for model in (*JE, *REC)})


# P permuted images; R untrained networks; S family labels swapped; Q one artifact in both roles; the others as named.
MAE_IS_MOCO = {"mae": "moco_v3", "moco_v3": "mae"}
UNTRAINED_INSTEAD = {"moco_v3": "random", "dino": "random_learned"}
SWAPPED = {"dino": "mae", "mae": "dino"}
MAE_AND_MOCO = {"mae": "moco_v3", "moco_v3": "mae"}
CONTROLS: dict[str, dict[str, Callable[[], World]]] = {
    "je-je-high": {"P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD), "only the pixels": only_pixels},
    "je-rec-low": {"S": lambda: renamed(SWAPPED), "Q": one_artifact},
    "je-diag": {"P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD), "only the pixels": only_pixels},
    "early-onset": {"S": lambda: renamed(SWAPPED), "Q": one_artifact},
    "je-late-drop": {"constant matrix": constant, "R": lambda: renamed(UNTRAINED_INSTEAD)},
    "rec-quarter": {
        "reversed depth": lambda: World().mapped(reversed_depth),
        "P": permuted,
        "R": lambda: renamed(UNTRAINED_INSTEAD),
    },
    "type-order": {
        "shuffled types": lambda: rolled_types(1),
        "shuffled the other way": lambda: rolled_types(-1),
        "P": permuted,
    },
    "attn-nil": {"Q": lambda: renamed({"mae": "moco_v3"})},
    "knn-diverge": {"Q": lambda: renamed({"mae": "moco_v3"}), "S": lambda: renamed({"mae": "moco_v3", "moco_v3": "mae"})},
    "knn-decline": {"reversed depth": lambda: votes(blocks_reversed), "S": lambda: renamed({"mae": "moco_v3"})},
    "knn-je-full": {"block 3": lambda: votes(final_is_block_3)},
    "knn-cls": {"swapped tokens": lambda: votes(lambda right: right[::-1]), "Q": lambda: renamed({"mae": "moco_v3"})},
    "knn-gap-closer": {"swapped tokens": lambda: votes(lambda right: right[::-1])},
    "replicates": {"R": lambda: replace(World(), findings=worlds.decided_by_runs(disagree=6))},
    "cka-stable": {"biased HSIC": lambda: replace(World(), sweep=worlds.sweep().of_biased_hsic())},
    "lp-order": {"S": lambda: renamed({"mae": "moco_v3", "moco_v3": "mae"})},
    "nlp-je-small": {"inject 2": lambda: more(2.0, "depth2")},
    "nlp-je-flat": {"inject 1": lambda: more(1.0, "depth4")},
    "nlp-mae-gain": {"depth 1 twice": lambda: same_as("final", "depth3"), "S": lambda: renamed({"mae": "dino", "dino": "mae"})},
    "nlp-mae-below": {"S": lambda: renamed({"mae": "moco_v3", "moco_v3": "mae"})},
    "inter-mae": {"block 11 twice": lambda: same_as("final+11", *(f"final+{i}" for i in range(11)))},
    "inter-je-null": {"inject 1": lambda: more(1.0, *(f"final+{i}" for i in range(11)))},
    "wide-control": {"block 7 of MAE": lambda: same_as("final+7", "final+11")},
    "all-mae": {"Q": lambda: same_as("final", "all")},
    "all-je-drop": {"Q": lambda: same_as("final", "all")},
    "all-mae-same-width": {"Q": lambda: same_as("final", *PROJECTED)},
    "all-je-same-width": {"Q": lambda: same_as("final", *PROJECTED)},
    "all-mae-code": {"Q": one_code, "S": lambda: renamed({"mae": "dino", "dino": "mae"})},
    "all-je-code": {"Q": one_code, "S": lambda: renamed({"mae": "dino", "dino": "mae"})},
    **{
        f"tau-{subset}-{k}": {"S": lambda: renamed(SWAPPED), "by class alone": by_class_alone}
        for subset in ("all", "right", "wrong")
        for k in (5, 10)
    },
    "f1": {"S": lambda: renamed(SWAPPED)},
    "path": {
        "crooked": lambda: replace(World(), finetune_path=lambda model: turned(worlds.finetune_path(model))),
        "S": lambda: renamed({"mae": "dino", "dino": "mae"}),
        "Q": lambda: renamed({"mae": "moco_v3"}),
    },
    "je-still": {"S": lambda: renamed({"mae": "dino", "dino": "mae"}), "Q": lambda: renamed({"mae": "moco_v3"})},
    "ft-to-moco": {"FT = PT": not_tuned, "S": lambda: renamed(MAE_IS_MOCO)},
    "ft-near-moco": {"FT = PT": not_tuned, "P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD)},
    "ft-both": {"FT = PT": not_tuned, "reversed depth": late_first},
    "ft-to-dino": {"FT = PT": not_tuned, "S": lambda: renamed(SWAPPED)},
    "ft-near-dino": {"FT = PT": not_tuned, "P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD)},
    "ft-both-dino": {"FT = PT": not_tuned, "reversed depth": late_first},
    "ft-attn-ln": {"FT = PT": not_tuned, "fc1 for all types": fully_connected},
    "ft-attn-top": {"FT = PT": not_tuned, "fc1 for all types": fully_connected},
    "ft-fc-split": {"FT = PT": not_tuned, "reversed depth": late_first},
    "ft-attn-diag": {"FT = PT": not_tuned, "P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD)},
    "ft-attn-block": {"P": permuted, "constant matrix": constant},
    "ft-mid": {"FT = PT": not_tuned, "P": permuted, "R": lambda: renamed(UNTRAINED_INSTEAD)},
    "je-ft-stable": {"FT = PT": not_tuned, "S": lambda: renamed(SWAPPED)},
    "ft-inter-null": {"FT = PT": not_tuned, "inject 1": lambda: more(1.0, *(f"final+{i}" for i in range(11)))},
    **{
        f"msn-{what}{suffix}": {"S": lambda swap=swap: renamed(swap), "Q": lambda je=je: renamed({"mae": je})}
        for suffix, je, swap in (("", "moco_v3", MAE_IS_MOCO), ("-dino", "dino", SWAPPED))
        for what in ("pt", "f1", "tau")
    },
    "arch-je": {"S": lambda: renamed({"moco_v3_resnet50": "mae", "mae": "moco_v3_resnet50"}), "P": permuted},
    "arch-je-dino": {"S": lambda: renamed({"dino_resnet50": "mae", "mae": "dino_resnet50"}), "P": permuted},
    **{f"obj-over-arch{suffix}": {"R": lambda: renamed({"fcmae": "random"}), "P": permuted} for suffix in ("", "-dino")},
    **{f"arch-rec-near{suffix}": {"R": lambda: renamed({"fcmae": "random"}), "P": permuted} for suffix in ("", "-dino")},
    **{f"arch-rec-far{suffix}": {"R": lambda: renamed({"fcmae": "random"}), "P": permuted} for suffix in ("", "-dino")},
    "msn-ft": {"R": lambda: renamed({"msn_ft": "random"}), "P": lambda: permuted(after=True)},
    "msn-ft-dino": {"R": lambda: renamed({"msn_ft": "random"}), "P": lambda: permuted(after=True)},
    "det-moco": {"S": lambda: renamed(MAE_AND_MOCO), "Q": lambda: renamed({"mae": "moco_v3"})},
    "det-dino-nomc": {
        "S": lambda: renamed({"mae": "dino_nomc", "dino_nomc": "mae"}),
        "Q": lambda: renamed({"mae": "dino_nomc"}),
    },
    "det-dino-mc": {"S": lambda: renamed({"mae": "dino", "dino": "mae"}), "Q": lambda: renamed({"mae": "dino"})},
    "det-small": {
        "S": lambda: renamed(MAE_AND_MOCO),
        "swapped areas": lambda: replace(World(), detection=detected(areas_swapped)),
    },
    "det-large": {
        "S": lambda: renamed(MAE_AND_MOCO),
        "swapped areas": lambda: replace(World(), detection=detected(areas_swapped)),
    },
    "det-inter": {"final twice": lambda: replace(World(), detection=detected(one_layer))},
    "detft-best": {"S": lambda: renamed(MAE_AND_MOCO), "Q": lambda: renamed({"mae": "dino"})},
    "detft-large": {
        "S": lambda: renamed(MAE_AND_MOCO),
        "frozen rows": lambda: replace(World(), detection_end_to_end=replace(World().detection_end_to_end, of=frozen_instead)),
    },
    "detft-small": {"S": lambda: renamed(MAE_AND_MOCO), "Q": lambda: renamed({"mae": "moco_v3"})},
    "opposite": {"S": lambda: renamed(MAE_AND_MOCO), "Q": lambda: renamed({"mae": "moco_v3"})},
    "rcdm-je": {
        "Q": lambda: renamed({"moco_v3": "mae"}),
        "R": lambda: renamed(UNTRAINED_INSTEAD),
        "copies of the source": lambda: copied(0.0),
        "copies of the mirror image": lambda: copied(1.0),
    },
    "rcdm-mae": {
        "S": lambda: renamed(SWAPPED),
        "Q": lambda: renamed({"mae": "moco_v3"}),
        "half of the copies mirrored": lambda: copied(0.5),
    },
    "rcdm-ft": {
        "FT = PT": not_tuned,
        "S": lambda: renamed(MAE_IS_MOCO),
        "half of the copies mirrored": lambda: copied(0.5),
    },
    "flip-cause": {
        "the same training": lambda: renamed({"moco_v3_no_flip": "moco_v3"}),
        "S": lambda: renamed({"moco_v3": "moco_v3_no_flip", "moco_v3_no_flip": "moco_v3"}),
    },
}

# Untrained networks that show the effect as well: what is SUPPORTED without them says nothing then.
TRAINED_LIKE = {
    "je-je-high": {"random": "moco_v3", "random_learned": "dino"},
    "je-diag": {"random": "moco_v3", "random_learned": "dino"},
    "je-late-drop": {"random": "moco_v3", "random_learned": "dino"},
    "rec-quarter": {"random": "moco_v3", "random_learned": "dino"},
    "type-order": {"random": "moco_v3", "random_learned": "mae"},
    **{
        f"{name}{suffix}": {"random_resnet50": f"{je}_resnet50", "random_convnextv2": "fcmae"}
        for suffix, je in (("", "moco_v3"), ("-dino", "dino"))
        for name in ("arch-je", "obj-over-arch", "arch-rec-near", "arch-rec-far")
    },
}

# Claims that no similarity decides.
ACCURACY = (
    "replicates",
    "knn-",
    "cka-",
    "flip-",
    "lp-",
    "nlp-",
    "inter-",
    "wide-",
    "all-",
    "tau-",
    "f1",
    "path",
    "je-still",
    "ft-inter-",
    "msn-f1",
    "msn-tau",
    "det-",
    "detft-",
    "opposite",
    "rcdm-",
)


def all_claims() -> dict[str, Callable[..., object]]:
    """Every claim function that measured artifacts can decide, by its claim's id."""
    # pytest imports test modules by their bare names too, so that each is one module however it was reached.
    if str(CLAIMS) not in sys.path:
        sys.path.insert(0, str(CLAIMS))
    modules = [importlib.import_module(path.stem) for path in sorted(CLAIMS.glob("test_*.py"))]
    # Claims that only the paper's printed numbers decide so far have their own tests (test_published_claims.py).
    measured = [module for module in modules if not hasattr(module, "Published")]
    tests = [value for module in measured for name, value in vars(module).items() if name.startswith("test_")]
    # Nor can a world be planted for what is said of a model that somebody names.
    return {test.claim.id: test for test in tests if hasattr(test, "claim") and test.claim.about != "model"}


TESTS = all_claims()
BASES = {id: id.split("/")[0] for id in TESTS}
PLANTED = list(TESTS)


def verdict(id: str, world: World):
    return judge(TESTS[id], world, TESTS[id].claim.margin)


def test_every_claim_is_planted_and_has_a_control():
    assert set(BASES.values()) == set(CONTROLS)
    assert all(CONTROLS.values())
    assert set(TRAINED_LIKE) < set(CONTROLS)


def test_every_similarity_claim_stands_under_a_second_measure():
    by_similarity = {id for id in CONTROLS if not id.startswith(ACCURACY)}
    assert {base for id, base in BASES.items() if id == f"{base}/deconfounded"} == by_similarity
    for base in ("je-rec-low", "early-onset", "je-late-drop"):
        assert {id for id in TESTS if BASES[id] == base} == {base, *(f"{base}/{name}" for name in worlds.MEASURES[1:])}


@pytest.mark.parametrize("id", PLANTED)
def test_a_planted_effect_is_supported(id):
    assert verdict(id, World()).state is State.SUPPORTED


@pytest.mark.parametrize("id", PLANTED)
def test_a_planted_effect_is_supported_on_every_replicate_and_above_the_null_by_roles(id):
    decision, inputs = worlds.on_panel(TESTS[id], EFFECT)
    assert decision.state is State.SUPPORTED
    # Of MSN, of CNNs, of DINO without multi-crop and of MoCo-v3 without flips there is one run.
    alone = ("msn-", "arch-", "obj-", "det-dino-nomc", "det-small", "det-large", "opposite", "flip-cause")
    runs = 1 if BASES[id].startswith(alone) else 3
    assert inputs.runs == (runs if TESTS[id].claim.about == "methods" else None)


@pytest.mark.parametrize(("id", "control"), [(id, control) for id in PLANTED for control in CONTROLS[BASES[id]]])
def test_without_the_effect_there_is_no_support(id, control):
    decision = verdict(id, CONTROLS[BASES[id]][control]())
    assert decision.state in (State.REFUTED, State.INCONCLUSIVE)


def test_from_few_findings_nothing_is_said_of_replicates():
    few = verdict("replicates", replace(World(), findings=worlds.decided_by_runs(disagree=0, findings=7)))
    assert few.state is State.UNCALIBRATED
    assert few.reason.startswith("7 main findings can be decided on each of several runs, needed 8: finding-0, ")
    mixed = verdict("replicates", replace(World(), findings=worlds.decided_by_runs(disagree=2)))
    assert mixed.reason.endswith("; runs disagree on finding-0, finding-1")


@pytest.mark.parametrize("id", [id for id in PLANTED if BASES[id] in TRAINED_LIKE])
def test_what_untrained_networks_show_too_is_inconclusive(id):
    decision = verdict(id, renamed(TRAINED_LIKE[BASES[id]]))
    assert decision.state is State.INCONCLUSIVE
    assert re.search("holds for untrained (networks|CNNs) too: input structure", decision.reason)


def test_similarity_that_is_all_in_the_pixels_is_not_support():
    """By plain CKA these models are alike, and so are untrained ones; beyond the pixels they are not."""
    world = only_pixels()
    assert world.cka("moco_v3", "dino").same_depth().value > 0.7
    assert "input structure" in verdict("je-je-high", world).reason
    assert verdict("je-je-high/deconfounded", world).state is State.REFUTED


@pytest.mark.parametrize("id", ["det-moco", "det-small", "det-large", "det-inter", "opposite", "detft-best", "detft-large"])
def test_detectors_of_which_none_has_learnt_decide_nothing(id):
    world = World()
    weak = {"of": hardly_trained, "detectors": worlds.detectors(hardly_trained)}
    known = {name: replace(getattr(world, name), **weak) for name in ("detection", "detection_end_to_end")}
    decision = verdict(id, replace(world, **known))
    assert decision.state is State.UNCALIBRATED
    assert "needed: 50" in decision.reason


@pytest.mark.parametrize(
    ("id", "model"), [("rcdm-je", "dino"), ("rcdm-mae", "mae"), ("rcdm-mae", "dino"), ("rcdm-ft", "mae_ft")]
)
def test_a_generator_that_uses_less_of_a_models_features_than_a_linear_regression_decides_nothing(id, model):
    def of(name):
        found = worlds.samples(name)
        anywhere = np.random.default_rng(0).normal(size=found.factor.shape)
        return replace(found, factor=anywhere) if name == model else found

    decision = verdict(id, replace(World(), generated=Generated(of, worlds.SUPERVISED)))
    assert decision.state is State.UNCALIBRATED
    assert decision.reason.startswith(f"{model}: samples keep")


@pytest.mark.parametrize("id", ["rcdm-je", "rcdm-mae", "rcdm-ft"])
def test_a_generator_that_does_not_keep_the_class_decides_nothing(id):
    known = worlds.samples(worlds.SUPERVISED)
    poor = replace(known, sample_class=np.zeros_like(known.sample_class))
    generated = Generated(lambda model: poor if model == worlds.SUPERVISED else worlds.samples(model), worlds.SUPERVISED)
    decision = verdict(id, replace(World(), generated=generated))
    assert decision.state is State.UNCALIBRATED
    assert "0.000 [0.000, 0.000]" in decision.reason
