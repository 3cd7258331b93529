"""Every stage on a tiny profile: what it makes, that a second run is byte-equal, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.finetuning_tables import PATH
from harness.artifacts.layout import Layout
from harness.artifacts.tables import (
    AGREE,
    BANK,
    CKA,
    CURVE,
    INVARIANCE,
    KNN,
    PIXELS,
    PROBE,
    SIMILARITY,
    SUMMARY,
    SWEEP,
    TYPES,
    unpack,
)
from harness.artifacts.tables import checkpoint as checkpoint_schema
from harness.data import images as image_lists
from harness.maths import cka
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.stages import agree, compare, extract, finetune, invariance, knn, probe, references, report, sweep, weights
from harness.stages.place import Place
from tests.forked import launched


def prepare(place: Place, *models: str) -> None:
    for model in models:
        weights.run(place, model)
        extract.run(place, model)


def checkpoint_of(network: torch.nn.Module) -> Any:
    """The schema of a network's checkpoint."""
    return checkpoint_schema({name: value.half().numpy() for name, value in network.state_dict().items()})


def network(place: Place, model: str) -> torch.nn.Module:
    architecture = place.params.architecture(model, place.profile)
    built = build(architecture.name, **architecture.options)
    checkpoint.load(place.path("checkpoints", model), built)
    return built


FINETUNED_ONE = ["checkpoints/one_ft.safetensors", "curves/one_ft.json", "path/one.json", "trace/one.safetensors"]


@pytest.mark.parametrize(
    ("stage", "paths"),
    [
        (lambda p: weights.run(p, "taught"), ["checkpoints/taught.safetensors", "curves/taught.json"]),
        (lambda p: finetune.run(p, "one"), FINETUNED_ONE),
        (lambda p: extract.run(p, "one"), ["banks/one.safetensors", "summaries/one.safetensors"]),
        (lambda p: compare.run(p, "two"), ["cka/two.safetensors", "similarity/two.safetensors", "final/two.safetensors"]),
        (lambda p: knn.run(p, "one"), ["knn/one.safetensors"]),
        (lambda p: probe.run(p, "one"), ["probes/one.safetensors"]),
        (lambda p: [probe.run(p, m) for m in ("one", "two")] + [agree.run(p, "two")], ["agree/two.safetensors"]),
        (lambda p: knn.pixels(p), ["pixels.safetensors"]),
        (lambda p: sweep.run(p), ["sweep.safetensors"]),
    ],
)
def test_a_second_run_is_byte_equal(tiny: Place, stage: Callable[[Place], None], paths: list[str]) -> None:
    prepare(tiny, "one", "two")
    stage(tiny)
    files = [Path("artifacts/tiny") / path for path in paths]
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    stage(tiny)
    assert [file.read_bytes() for file in files] == first


def test_a_random_model_is_its_seed_in_float16_and_has_no_curve(tiny: Place) -> None:
    weights.run(tiny, "one")
    options = tiny.params.architecture("one", "tiny").options
    expected = build("vit_tiny_patch16_224", seed=1, positions="sincos", **options).state_dict()
    loaded = network(tiny, "one").state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in expected.items())
    assert store.read_table(tiny.path("curves", "one", ending=".json"), CURVE).rows.empty


def test_fine_tuning_goes_from_the_checkpoint_along_its_path(tiny: Place) -> None:
    weights.run(tiny, "one")
    finetune.run(tiny, "one")
    before, after = network(tiny, "one"), network(tiny, "one")
    checkpoint.load(tiny.path("checkpoints", "one_ft"), after)
    table = store.read_table(tiny.path("path", "one", ending=".json"), PATH)
    rows = table.rows.set_index(["every", "block", "kind"])
    # Two epochs and one step, three blocks of three kinds, and what is outside of them.
    assert len(rows) == 2 * (3 * 3 + 1)
    assert set(rows.steps[1]) == {2}
    assert set(rows.steps[2]) == {1}
    np.testing.assert_array_equal(rows.net[2], rows.length[2])
    for block in range(3):
        parts = ("attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias")
        one, other = (
            torch.cat([n.get_parameter(f"blocks.{block}.{part}").flatten() for part in parts]) for n in (before, after)
        )
        way = rows.loc[(1, block, "attention")]
        assert way.start == pytest.approx(one.norm().item())
        # The artifact has half the precision that the path was measured at.
        assert way.net == pytest.approx((other - one).norm().item(), rel=0.02)
    assert table.provenance.weights == store.read_arrays(tiny.path("checkpoints", "one"), checkpoint_of(before)).sha256
    assert store.read_table(tiny.path("curves", "one_ft", ending=".json"), CURVE).rows.epoch.tolist() == [1, 2]


def test_a_fine_tuned_model_is_measured_like_any_and_compared_with_its_start_and_itself(tiny: Place) -> None:
    prepare(tiny, "one", "two")
    finetune.run(tiny, "one")
    extract.run(tiny, "one_ft")
    references.run(tiny, "summaries_ft")
    compare.run(tiny, "one_ft")
    listed = json.loads(tiny.path("references", "summaries_ft", ending=".json").read_text())
    assert list(listed) == ["one", "two", "one_ft"]
    compared = store.read_pairs(tiny.path("cka", "one_ft"), CKA)
    found, itself = compared.of("one"), compared.of("one_ft")
    np.testing.assert_allclose(np.diag(itself["cka"]), 1, rtol=1e-5)
    assert np.diag(found["cka"]).min() < 0.999
    features = store.read_arrays(tiny.path("banks", "one_ft"), BANK)
    assert features.provenance.weights != store.read_arrays(tiny.path("banks", "one"), BANK).provenance.weights


def test_what_the_profile_does_not_fine_tune_is_refused(tiny: Place) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)finetuned.*seen: two.*expected: one of profiles.tiny.finetuned: one"):
        finetune.run(tiny, "two")


def test_training_changes_the_weights_and_records_its_curve(tiny: Place) -> None:
    weights.run(tiny, "taught")
    rows = store.read_table(tiny.path("curves", "taught", ending=".json"), CURVE).rows
    assert rows.epoch.tolist() == [2]
    options = tiny.params.architecture("taught", "tiny").options
    start = build("vit_tiny_patch16_224", seed=0, positions="sincos", **options).state_dict()
    trained = network(tiny, "taught").state_dict()
    assert not torch.allclose(trained["blocks.0.attn.qkv.weight"], start["blocks.0.attn.qkv.weight"], atol=1e-4)


def test_the_bank_holds_grams_and_features_of_the_listed_images(tiny: Place) -> None:
    prepare(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    data = tiny.settings.data
    source = image_lists.load(data, "validation", 96, 0)
    pixels = source.read(np.arange(96))
    inputs = normaliser(data.mean, data.std)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    with torch.inference_mode():
        final, blocks = network(tiny, "one").forward_intermediates(
            inputs, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=False
        )
    last, prefix = blocks[2]
    expected = np.stack([prefix[:, 0].numpy(), last.mean(1).numpy()], 1)
    layout = Layout.of(bank)
    for i, token in enumerate(layout.tokens):
        np.testing.assert_allclose(bank["validation"][:, layout.at(token, 2)], expected[:, i], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(bank["validation"][:, layout.at("cls", 3)], final[:, 0], rtol=2e-3, atol=2e-3)
    assert bank["validation_label"].tolist() == source.label.tolist()
    names = unpack(bank["layers"])
    assert names == [f"{i}.{kind}" for i in range(3) for kind in TYPES] + ["pixels"]
    own = cka.self_hsic(bank["gram"].transpose(1, 0, 2), 16)
    x = inputs[:64].reshape(4, 16, -1).double()
    x = x - x.mean(1, keepdim=True)
    gram = x @ x.mT
    gram.diagonal(dim1=1, dim2=2).zero_()
    row, total = gram.sum(2), gram.sum((1, 2))
    naive = ((gram**2).sum((1, 2)) + total**2 / (15 * 14) - 2 / 14 * (row**2).sum(1)) / (16 * 13)
    np.testing.assert_allclose(own[:, -1], naive, rtol=1e-4)
    assert bank["norm"][-1] == pytest.approx(float(inputs[:64].double().square().sum() / 64), rel=1e-5)


def test_comparison_with_itself_is_one_and_swapping_sides_transposes(tiny: Place) -> None:
    prepare(tiny, "one", "two")
    for model in ("one", "two"):
        compare.run(tiny, model)
    itself, forth = (store.read_pairs(tiny.path("cka", model), CKA).of("one") for model in ("one", "two"))
    one, two = (store.read_arrays(tiny.path("banks", model), BANK) for model in ("one", "two"))
    back = compare.layer_pairs(one, two, tiny.settings.extract.minibatch)
    np.testing.assert_array_equal(np.diag(itself["cka"]), 1)
    np.testing.assert_allclose(forth["cka"], back["cka"].T, atol=1e-6)
    np.testing.assert_array_equal(forth["self_a"], back["self_b"])
    own_a, own_b = (forth[name][2].astype(float) for name in ("self_a", "self_b"))
    cross = forth["each"][2] * np.sqrt(own_a[..., :, None] * own_b[..., None, :])
    triples = cka.minibatch_cka(cross, own_a, own_b)
    # Half precision: the cells' own rounding, and that of the mean over minibatches, which is smaller.
    np.testing.assert_allclose(triples, forth["cka"][2 :: len(TYPES), 2 :: len(TYPES)], atol=5e-4)
    exact = cka.cross_hsic(
        *(bank["gram"].transpose(1, 0, 2)[2 : -1 : len(TYPES)] for bank in (two, one)), tiny.settings.extract.minibatch
    )
    np.testing.assert_allclose(cross, exact, atol=5e-4 * np.sqrt(own_a.max() * own_b.max()))
    same = store.read_pairs(tiny.path("similarity", "one"), SIMILARITY).of("one")
    np.testing.assert_array_equal([np.diag(m) for token in same["each"] for m in token], 1)
    assert same["common"].min() == same["k"][0]


def test_neighbours_are_shared_at_the_same_share_of_the_depth(tiny: Place) -> None:
    """A network of five blocks of which each second is another's: they share all neighbours with those, and no others."""
    prepare(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    shallow = np.array(bank["validation"]).reshape(96, 2, 4, 16)
    noise = np.random.default_rng(0).normal(size=shallow[:, :, :1].shape).astype(np.float16)
    parts = [shallow[:, :, [i]] for i in range(4)]
    deep = np.concatenate([parts[0], noise, parts[1], -noise, parts[2], parts[3]], axis=2)

    def planted(features: np.ndarray) -> compare.Compared:
        widths = np.full(features.shape[2], 16)
        values = {"validation": features.reshape(96, -1), "tokens": bank["tokens"], "widths": widths}
        return compare.Compared(store.Arrays(values, bank.provenance, ""), 64, 5, 4)

    x, y = planted(shallow), planted(deep)
    for one, other in ((x, y), (y, x)):
        shared = compare.second_opinions(one, other)["common"]
        assert shared.shape == (2, 3, 64)
        assert shared.min() == 5


def test_banks_of_different_images_are_refused(tiny: Place) -> None:
    prepare(tiny, "one", "two")
    bank = store.read_arrays(tiny.path("banks", "two"), BANK)
    other = bank.provenance.model_copy(update={"images": "another list"})
    values = {name: np.array(value) for name, value in bank.values.items()}
    store.write_arrays(tiny.path("banks", "two"), BANK, values, other)
    known = store.read_arrays(tiny.path("summaries", "two"), SUMMARY)
    store.write_arrays(tiny.path("summaries", "two"), SUMMARY, {name: np.array(v) for name, v in known.values.items()}, other)
    with pytest.raises(InvalidInput, match="image lists"):
        compare.run(tiny, "two")


def test_each_two_references_meet_once_and_another_model_meets_all_of_them(tiny: Place) -> None:
    prepare(tiny, "one", "two", "taught")
    for model in ("one", "two", "taught"):
        compare.run(tiny, model)
    met = {"one": ["one"], "two": ["one", "two"], "taught": ["one", "two"]}
    for kind in (CKA, SIMILARITY):
        assert sorted(path.stem for path in Path("artifacts/tiny", kind.kind).iterdir()) == sorted(met)
        for model, names in met.items():
            assert store.read_pairs(tiny.path(kind.kind, model), kind).references == tuple(names)


def test_a_layer_that_does_not_vary_is_dead_and_its_cka_undefined(tiny: Place) -> None:
    weights.run(tiny, "one")
    weights.run(tiny, "two")
    spoiled = network(tiny, "one")
    # A LayerNorm that multiplies by zero gives every image its bias.
    spoiled.blocks[1].norm1.weight.data.zero_()
    spoiled.blocks[1].norm1.bias.data.fill_(3.0)
    written = store.read_table(tiny.path("curves", "one", ending=".json"), CURVE)
    checkpoint.save(tiny.path("checkpoints", "one"), spoiled, written.provenance)
    extract.run(tiny, "one")
    extract.run(tiny, "two")
    compare.run(tiny, "two")
    result = store.read_pairs(tiny.path("cka", "two"), CKA).of("one")
    dead = [name for name, flag in zip(unpack(result["layers_b"]), result["dead_b"], strict=True) if flag]
    # qkv and proj of that block are constant too, since their input is.
    assert dead == ["1.norm1", "1.attn.qkv", "1.attn.proj"]
    assert np.isnan(result["cka"][:, 7]).all()
    assert np.isfinite(np.delete(result["cka"], [7, 8, 9], 1)).all()
    assert not result["dead_a"].any()


@pytest.mark.parametrize(
    ("weight", "message"),
    # float32 holds the first, float16 does not; the second overflows float32 in the block's last product.
    [
        (2e4, r"images 0 to 31\n  seen: features after block 2, image \d+: an overflow"),
        (None, "layer 1.mlp.fc1\n  seen: 64 NaN or Inf in 1 images, first in image 5"),
    ],
)
def test_activations_that_are_not_finite_stop_extraction_with_layer_and_image(
    tiny: Place, monkeypatch: pytest.MonkeyPatch, weight: float | None, message: str
) -> None:
    weights.run(tiny, "one")
    spoiled = network(tiny, "one")
    if weight is None:
        # No float16 weight is NaN, but a layer's arithmetic may be: here that of image 5.
        def spoil(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            output[5:6, 3] = torch.nan
            return output

        def build_spoiled(*args: object, **kwargs: object) -> torch.nn.Module:
            broken = build(*args, **kwargs)
            broken.blocks[1].mlp.fc1.register_forward_hook(spoil)
            return broken

        monkeypatch.setattr(extract, "build", build_spoiled)
    else:
        spoiled.blocks[2].mlp.fc1.weight.data.fill_(weight)
        spoiled.blocks[2].mlp.fc2.weight.data.fill_(weight)
        spoiled.blocks[2].mlp.fc1.bias.data.fill_(weight)
        written = store.read_table(tiny.path("curves", "one", ending=".json"), CURVE)
        checkpoint.save(tiny.path("checkpoints", "one"), spoiled, written.provenance)
    with pytest.raises(InvalidInput, match=message):
        extract.run(tiny, "one")
    assert not tiny.path("banks", "one").exists()


def test_a_weight_beyond_float16_is_never_written(tiny: Place) -> None:
    weights.run(tiny, "one")
    spoiled = network(tiny, "one")
    spoiled.blocks[0].norm1.bias.data[3] = 1e6
    written = store.read_table(tiny.path("curves", "one", ending=".json"), CURVE)
    before = tiny.path("checkpoints", "one").read_bytes()
    with pytest.raises(InvalidInput, match=r"blocks\.0\.norm1\.bias"):
        checkpoint.save(tiny.path("checkpoints", "one"), spoiled, written.provenance)
    assert tiny.path("checkpoints", "one").read_bytes() == before


def test_a_checkpoint_of_another_architecture_is_refused(tiny: Place) -> None:
    weights.run(tiny, "one")
    options = tiny.params.architecture("one", "tiny").options
    with pytest.raises(InvalidInput, match="columns"):
        checkpoint.load(tiny.path("checkpoints", "one"), build("vit_tiny_patch16_224", **(options | {"depth": 4})))
    with pytest.raises(InvalidInput, match=r"seen: \(1, 1, 16\)\n  expected: \(1, 1, 32\)"):
        checkpoint.load(tiny.path("checkpoints", "one"), build("vit_tiny_patch16_224", **(options | {"embed_dim": 32})))


def test_knn_votes_are_per_image_and_better_than_chance_on_pixels(tiny: Place) -> None:
    prepare(tiny, "one")
    knn.run(tiny, "one")
    knn.pixels(tiny)
    votes, pixels = store.read_arrays(tiny.path("knn", "one"), KNN), store.read_arrays(tiny.path("pixels"), PIXELS)
    assert votes["vote"].shape == (2, 4, 96)
    assert votes["label"].tolist() == pixels["label"].tolist()
    # 128 training images of ten classes: chance is 10 % with a standard error of 3 points.
    assert (pixels["vote"] == pixels["label"]).mean() > 0.2


def test_the_features_of_few_images_are_in_memory_at_a_time(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    taken = []

    class Rows:
        def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
            part = bank["train"][index]
            taken.append(len(part))
            return part

    params = tiny.settings.knn
    whole = knn.votes(bank, params)
    watched: Any = {name: bank[name] for name in BANK.columns} | {"train": Rows()}
    monkeypatch.setattr(knn, "ROWS", 50)
    in_parts = knn.votes(watched, params)
    assert in_parts.keys() == whole.keys()
    for name, column in whole.items():
        np.testing.assert_array_equal(in_parts[name], column, err_msg=name)
    # All at once for the linear probe alone, and for that as many as the parameters say.
    assert sorted(taken)[-2:] == [50, 128]
    taken.clear()
    knn.votes(watched, params.model_copy(update={"images": 60}))
    assert sorted(taken)[-2:] == [50, 60]


def test_raw_pixels_are_compared_on_as_many_images_as_the_parameters_say(tiny: Place) -> None:
    settings = tiny.settings
    few = settings.model_copy(update={"knn": settings.knn.model_copy(update={"images": 100})})
    knn.pixels(Place(tiny.params.model_copy(update={"profiles": {"tiny": few}}), "tiny"))
    assert len(store.read_arrays(tiny.path("pixels"), PIXELS)["label"]) == 96
    few = settings.model_copy(update={"knn": settings.knn.model_copy(update={"images": 40})})
    knn.pixels(Place(tiny.params.model_copy(update={"profiles": {"tiny": few}}), "tiny"))
    assert len(store.read_arrays(tiny.path("pixels"), PIXELS)["label"]) == 40


def test_the_sweep_agrees_with_the_comparison_at_equal_settings(tiny: Place) -> None:
    prepare(tiny, "one", "two")
    sweep.run(tiny)
    result = store.read_arrays(tiny.path("sweep"), SWEEP)
    assert result["batch"].shape == (2, 2, 3)
    # One minibatch of 16 images, as the bank's first Gram has it.
    banks = [store.read_arrays(tiny.path("banks", m), BANK) for m in ("one", "two")]
    layers = unpack(banks[0]["layers"])
    for j, name in enumerate(unpack(result["layers"])):
        a, b = (bank["gram"][:1, layers.index(name)].astype(float)[None] for bank in banks)
        expected = cka.minibatch_cka(cka.cross_hsic(a, b, 16), cka.self_hsic(a, 16), cka.self_hsic(b, 16))[0, 0]
        assert result["batch"][0, 1, j] == pytest.approx(expected, abs=1e-4)


def test_the_sweep_over_biased_hsic_depends_on_the_minibatch_size(tiny: Place) -> None:
    prepare(tiny, "one", "two")
    sweep.run(tiny)
    result = store.read_arrays(tiny.path("sweep"), SWEEP)
    assert not np.allclose(result["biased"], result["batch"], atol=1e-4)


def test_a_sweep_over_more_layers_than_there_are_is_refused(tiny: Place) -> None:
    for model in ("one", "two"):
        weights.run(tiny, model)
    greedy = tiny.settings.model_copy(update={"sweep": tiny.settings.sweep.model_copy(update={"layers": 30})})
    place = Place(tiny.params.model_copy(update={"profiles": {"tiny": greedy}}), "tiny")
    with pytest.raises(InvalidInput) as refused:
        sweep.run(place)
    assert (refused.value.field, refused.value.seen) == ("profiles.tiny.sweep.layers", 30)
    assert refused.value.expected == "at most the 21 layers that one and two share"


def test_launched_processes_share_a_pre_training_and_one_of_them_writes_it(
    tiny: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, save = tiny.path("curves", "taught", ending=".json"), checkpoint.save
    weights.run(tiny, "taught", scratch=Path("alone"))
    alone = store.read_table(path, CURVE).rows
    path.unlink()

    def noted(*given: Any) -> None:
        Path(f"written by {os.environ['RANK']}").touch()
        save(*given)

    monkeypatch.setattr(checkpoint, "save", noted)
    assert launched(lambda: weights.run(tiny, "taught", scratch=Path("shared")) or 0, 2) == [0, 0]
    assert [one.name for one in Path().glob("written by *")] == ["written by 0"]
    np.testing.assert_allclose(store.read_table(path, CURVE).rows["loss"], alone["loss"], rtol=1e-3)


def test_the_report_gathers_every_model(tiny: Place) -> None:
    prepare(tiny, *tiny.params.models)
    finetune.run(tiny, "one")
    extract.run(tiny, "one_ft")
    models = tiny.params.at("tiny")
    assert models[-1] == "one_ft"
    for model in models:
        knn.run(tiny, model)
        probe.run(tiny, model)
        compare.run(tiny, model)
        invariance.run(tiny, model)
    for model in tiny.settings.models:
        agree.run(tiny, model)
    knn.pixels(tiny)
    report.run(tiny)
    folder = Path("artifacts/tiny/report")
    assert sorted(p.name for p in folder.iterdir()) == ["curves.csv", "knn.csv", "metrics.json", "overview.png"]
    metrics = json.loads((folder / "metrics.json").read_text())
    moved = store.read_arrays(tiny.path("invariance", "one_ft"), INVARIANCE)
    at = unpack(moved["changes"]).index("flip")
    ratio = np.asarray(moved["moved"][at, 0], np.float64).mean() / np.asarray(moved["others"][0], np.float64).mean()
    assert metrics["mirrored"].keys() == set(models)
    assert metrics["mirrored"]["one_ft"] == pytest.approx(ratio, abs=1e-4)
    tau = store.read_pairs(tiny.path("agree", "two"), AGREE).of("one")["tau"][0]
    assert metrics["probe_agreement"] == {"one-two": pytest.approx(np.asarray(tau, np.float64).mean(), abs=1e-4)}
    lines = (folder / "knn.csv").read_text().splitlines()
    assert len(lines) == 1 + len(models) * (2 * 4 + 1)
    first = (folder / "overview.png").read_bytes()
    report.run(tiny)
    assert (folder / "overview.png").read_bytes() == first


def test_a_stage_without_its_input_says_what_to_run(tiny: Place) -> None:
    for stage in (lambda: extract.run(tiny, "one"), lambda: knn.run(tiny, "one"), lambda: compare.run(tiny, "one")):
        with pytest.raises(MissingArtifact, match="run dvc repro"):
            stage()


def test_classes_and_duplicates_are_refused() -> None:
    ten, one = np.arange(10).repeat(3), np.zeros(30, np.int64)
    extract.refuse_classes(ten, ten)
    with pytest.raises(InvalidInput, match="two or more"):
        extract.refuse_classes(one, one)
    with pytest.raises(InvalidInput, match=r"in one list only \[9\]"):
        extract.refuse_classes(ten, ten[:27])
    hashes = np.arange(50)
    extract.refuse_duplicates(hashes, hashes + 50)
    with pytest.raises(InvalidInput, match=r"1 images more than once, first \[\[1, 4\]\]"):
        extract.refuse_duplicates(hashes, np.array([60, 61, 62, 63, 61]))
    with pytest.raises(InvalidInput, match=r"2 also in the training bank, first \[0, 2\]"):
        extract.refuse_duplicates(hashes, np.array([7, 60, 8]))


def test_parameters_change_the_provenance_and_the_profile_the_path(tiny: Place) -> None:
    weights.run(tiny, "one")
    prepare(tiny, "two")
    known = [store.read_arrays(tiny.path("banks", "two"), BANK).provenance]
    settings = tiny.settings.model_copy(update={"extract": tiny.settings.extract.model_copy(update={"queries": 80})})
    changed = replace(tiny, params=tiny.params.model_copy(update={"profiles": {"tiny": settings}}))
    extract.run(changed, "two")
    known.append(store.read_arrays(tiny.path("banks", "two"), BANK).provenance)
    assert known[0].parameters != known[1].parameters
    assert known[0].images != known[1].images
    assert known[0].code == known[1].code


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_voted_on_by_features_and_by_logits(tiny: Place, classes: int) -> None:
    """Images whose features tell their class: every vote and every probe is right, of two classes too."""
    prepare(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    values = {name: np.array(array) for name, array in bank.values.items()}
    for split in ("train", "validation"):
        label = np.arange(len(values[f"{split}_label"])) % classes
        values[f"{split}_label"] = label
        values[split] = (values[split] + 50 * (label[:, None] == np.arange(values[split].shape[1]) % classes)).astype(
            np.float16
        )
    votes = knn.votes(store.Arrays(values, bank.provenance, ""), tiny.settings.knn)
    for name in ("probe", "probe_vote"):
        np.testing.assert_array_equal(votes[name], votes["label"], err_msg=name)
    assert (votes["vote"] == votes["label"]).all()


def test_probes_of_two_classes_rank_both(tiny: Place) -> None:
    prepare(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    values = {name: np.array(array) for name, array in bank.values.items()}
    for split in ("train", "validation"):
        values[f"{split}_label"] = values[f"{split}_label"] % 2
    store.write_arrays(tiny.path("banks", "one"), BANK, values, bank.provenance)
    probe.run(tiny, "one")
    found = store.read_arrays(tiny.path("probes", "one"), PROBE)
    assert found["top"].shape == (96, 2)
    assert set(found["label"].tolist()) == {0, 1}
