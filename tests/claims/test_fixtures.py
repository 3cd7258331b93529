"""The claims' fixtures: which file they open, what they put down, what they refuse."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import worlds
import yaml

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.finetuning_tables import PATH
from harness.artifacts.provenance import Provenance
from harness.artifacts.tables import CKA, FINAL, KNN, PROBE, SIMILARITY, SWEEP, TOKENS, TYPES, pack
from harness.evidence.claim import Inputs
from harness.evidence.resampling import BLOCKS, DRAWS
from harness.params.load import check_params, load_params
from harness.readings.files import read_table
from harness.readings.pair import Pair
from harness.readings.readings import Readings

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def fixtures(tmp_path, monkeypatch):
    """claims/conftest.py, looking for artifacts under tmp_path."""
    spec = importlib.util.spec_from_file_location("claims_conftest", PROJECT / "claims" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


@pytest.fixture
def params():
    return load_params(PROJECT / "params.yaml")


def given(fixture):
    """The function that a fixture decorates."""
    return fixture._get_wrapped_function()


def write(root, kind, name, schema, values, profile="embedded"):
    provenance = Provenance(profile=profile, stage="test", parameters="", code="", images="planted")
    path = root / "artifacts" / "embedded" / kind / f"{name}.safetensors"
    if "cross" in values and "each" in schema.columns:
        own_a, own_b = (np.asarray(values[name], float) for name in ("self_a", "self_b"))
        each = values["cross"] / np.sqrt(own_a[..., :, None] * own_b[..., None, :])
        values = {column: value for column, value in values.items() if column != "cross"} | {"each": each}
    columns = {column: np.asarray(value, schema.columns[column].dtype) for column, value in values.items()}
    if schema in (CKA, SIMILARITY, FINAL):
        reference = path.stem
        return store.write_pairs(path.parent.with_suffix(".safetensors"), schema, {reference: columns}, provenance)
    return store.write_arrays(path, schema, columns, provenance)


def write_pair(root, a, b, **options):
    names = pack([f"{block}.{kind}" for block in BLOCKS for kind in TYPES])
    made = worlds.pair(b, a).transposed()
    columns = ("cross", "self_a", "self_b", "pixels_a", "pixels_b", "pixels")
    values = {column: getattr(made, column) for column in columns}
    matrix = np.zeros((84, 84))
    values |= {"cka": matrix, "dead_a": matrix[0], "dead_b": matrix[0], "layers_a": names, "layers_b": names}
    values["types"] = pack(TYPES)
    return write(root, "cka", f"{a}/{b}", CKA, values, **options)


def test_a_pair_is_found_either_way_round(params, tmp_path):
    sha = write_pair(tmp_path, "mae", "moco_v3")
    inputs = Inputs("embedded")
    cka = Readings(params, inputs, tmp_path).cka
    straight, turned = cka("moco_v3", "mae"), cka("mae", "moco_v3")
    expected = worlds.pair("moco_v3", "mae").cells([2], [7]).value
    # CKA of a minibatch is kept in half precision.
    assert straight.cells([2], [7]).value == pytest.approx(expected, abs=1e-4)
    assert turned.cells([7], [2]).value == straight.cells([2], [7]).value
    assert abs(straight.cells([7], [2]).value - expected) > 0.01
    assert turned.names == ("mae", "moco_v3")
    assert inputs.artifacts == {"artifacts/embedded/cka/mae.safetensors": sha}
    assert Readings(params, inputs, tmp_path).deconfounded("moco_v3", "mae").adjusted


def test_a_notebook_reads_a_profile_by_its_name() -> None:
    readings = Readings.of("embedded", PROJECT)
    pair = readings.cka("moco_v3", "mae")
    assert pair.names == ("moco_v3", "mae")
    own = store.read_pairs(PROJECT / "artifacts" / "embedded" / "cka" / "mae.safetensors", CKA).of("moco_v3")
    expected = Pair.from_arrays(own).same_depth().value
    assert pair.same_depth().value == pytest.approx(expected)
    assert list(readings.inputs.artifacts) == ["artifacts/embedded/cka/mae.safetensors"]


def test_every_claim_that_opens_an_artifact_puts_it_down(params, tmp_path):
    sha = write_pair(tmp_path, "dino", "moco_v3")
    for _ in range(2):
        inputs = Inputs("embedded")
        Readings(params, inputs, tmp_path).cka("moco_v3", "dino")
        assert list(inputs.artifacts.values()) == [sha]


def test_the_other_artifacts(params, tmp_path):
    rng = np.random.default_rng(0)
    square, own = rng.uniform(-1, 1, size=(2, 16, 12, 12)), rng.uniform(1, 2, size=(2, 16, 12))
    values = {"common": rng.integers(11, size=(2, 12, 30)), "k": [10], "cross": square}
    values |= {"self_a": own, "self_b": own, "tokens": pack(TOKENS)}
    write(tmp_path, "similarity", "mae/dino", SIMILARITY, values)
    votes = {"label": np.arange(40) % 3, "vote": np.zeros((2, 13, 40)), "probe": np.zeros(40), "probe_vote": np.ones(40)}
    votes["tokens"] = pack(TOKENS)
    write(tmp_path, "knn", "dino", KNN, votes)
    sizes = {"batch": np.zeros((4, 2, 3)), "biased": np.zeros((4, 2, 3)), "count": np.full((4, 2, 3), 0.5)}
    write(tmp_path, ".", "sweep", SWEEP, sizes | {"minibatches": [32, 64], "images": [64, 128], "layers": pack(["a"] * 3)})

    inputs = Inputs("embedded")
    assert Readings(params, inputs, tmp_path).mutual("mae", "dino").same_depth().n == 30
    cls, gap = (getattr(Readings(params, inputs, tmp_path), name)("mae", "dino") for name in ("cls", "gap"))
    assert (cls.types, gap.types) == (("cls",), ("gap",))
    assert cls.cells([3], [8]).value == pytest.approx(
        square[0, :, 3, 8].mean() / np.sqrt(own[0, :, 3].mean() * own[0, :, 8].mean()), abs=5e-4
    )
    assert Readings(params, inputs, tmp_path).knn("dino").final("cls").value == pytest.approx(100 * 14 / 40)
    assert Readings(params, inputs, tmp_path).sweep().each_change()[0].value == 0
    assert sorted(inputs.artifacts) == [
        "artifacts/embedded/knn/dino.safetensors",
        "artifacts/embedded/similarity/mae.safetensors",
        "artifacts/embedded/sweep.safetensors",
    ]


def test_probes_are_those_of_the_profile_or_what_the_paper_prints(fixtures, params, tmp_path):
    sets = ["final", "all"]
    right = np.random.default_rng(0).uniform(size=(2, 5, 40)) < 0.5
    values = {"holdout": np.full((2, 6), 0.5), "validation": np.full((2, 6), 0.5), "best": np.zeros((2, 5))}
    values |= {"right": np.packbits(right, axis=2), "top": np.zeros((40, 3)), "label": np.zeros(40), "sets": pack(sets)}
    values |= {"code": np.full((1, 9), 0.5), "coded": pack(["all"])}
    write(tmp_path, "probes", "mae", PROBE, values | {"configurations": np.ones((6, 5))})
    inputs = Inputs("embedded")
    measured = given(fixtures.probes)(Readings(params, inputs, tmp_path), "embedded")
    gap = measured.combination({("mae", "all"): 1.0, ("mae", "final"): -1.0})
    assert gap.value == pytest.approx(100 * (right[1].mean() - right[0].mean()))
    assert list(inputs.artifacts) == ["artifacts/embedded/probes/mae.safetensors"]
    with pytest.raises(MissingArtifact, match="probes/dino"):
        measured.combination({("dino", "all"): 1.0})
    inputs.assignment = {"dino": "mae"}
    assert measured.combination({("dino", "all"): 1.0}).value == pytest.approx(100 * right[1].mean())

    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "published.toml").write_bytes((PROJECT / "claims" / "published.toml").read_bytes())
    inputs = Inputs("published")
    printed = given(fixtures.probes)(Readings(params, inputs, tmp_path), "published")
    assert printed.combination({("mae", "all"): 1.0}).value == pytest.approx(70.12)


def test_ways_are_those_of_the_run_that_plays_the_model(params, tmp_path):
    rows = [
        {"every": 1, "block": i, "kind": "attention", "net": 1.0, "length": 2.0, "start": 4.0, "steps": 3} for i in range(12)
    ]
    path = tmp_path / "artifacts" / "embedded" / "path" / "mae_1.json"
    path.parent.mkdir(parents=True)
    of = Provenance(profile="embedded", stage="finetune", parameters="", code="", images="")
    sha = store.write_table(path, PATH, pd.DataFrame(rows), of)
    inputs = Inputs("embedded", assignment={"mae": "mae_1"})
    found = Readings(params, inputs, tmp_path).finetune_path("mae")
    assert (found.efficiency().value, found.displacement().value) == (0.5, 0.25)
    assert inputs.artifacts == {"artifacts/embedded/path/mae_1.json": sha}
    with pytest.raises(MissingArtifact, match=r"path/dino\.json"):
        Readings(params, inputs, tmp_path).finetune_path("dino")
    store.write_table(path, PATH, pd.DataFrame(rows), of.model_copy(update={"profile": "paper"}))
    read_table.cache_clear()
    with pytest.raises(InvalidInput, match=r"(?s)profile.*paper.*embedded"):
        Readings(params, Inputs("embedded"), tmp_path).finetune_path("mae_1")


def test_what_was_not_measured_is_missing(params, tmp_path):
    with pytest.raises(MissingArtifact, match=r"cka/dino\.safetensors"):
        Readings(params, Inputs("embedded"), tmp_path).cka("moco_v3", "dino")
    with pytest.raises(MissingArtifact, match="knn/dino"):
        Readings(params, Inputs("embedded"), tmp_path).knn("dino")
    with pytest.raises(MissingArtifact, match="sweep"):
        Readings(params, Inputs("embedded"), tmp_path).sweep()


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [("source", "publishd", "published"), ("source", "embeded", "embedded"), ("model", "vicrag", "vicreg")],
)
def test_a_slip_on_the_command_line_is_one_line_with_the_nearest_name(fixtures, monkeypatch, option, name, said):
    monkeypatch.setattr(fixtures, "ROOT", PROJECT)
    config = SimpleNamespace(getoption=lambda asked: [name] if asked == option else None)
    with pytest.raises(pytest.UsageError) as refused:
        fixtures.pytest_configure(config)
    assert f"--{option} {name}: expected" in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_params_has_is_taken_and_workers_do_not_ask_again(fixtures, monkeypatch):
    monkeypatch.setattr(fixtures, "ROOT", PROJECT)
    given = {"source": ["embedded", "published", "laptop"], "model": ["mae_ft", "vicreg"]}
    fixtures.pytest_configure(SimpleNamespace(getoption=given.get))
    fixtures.pytest_configure(SimpleNamespace(getoption={}.get))
    fixtures.pytest_configure(SimpleNamespace(getoption={"source": ["nobody"]}.get, workerinput={}))


def test_a_detector_that_the_profile_does_not_train_is_missing(params, tmp_path):
    profile = params.of("embedded").model_copy(update={"detected": (), "detected_end_to_end": ()})
    none = params.model_copy(update={"profiles": params.profiles | {"embedded": profile}})
    readings = Readings(none, Inputs("embedded"), tmp_path)
    with pytest.raises(MissingArtifact, match=r"(?s)detect/final/mae.*profiles\.embedded\.detected has no mae.*dvc repro"):
        readings.detection("mae")
    profile = params.of("embedded").model_copy(update={"detected": ("mae",), "detected_end_to_end": ()})
    more = params.model_copy(update={"profiles": params.profiles | {"embedded": profile}})
    with pytest.raises(MissingArtifact, match=r"detect/final/mae\.safetensors"):
        Readings(more, Inputs("embedded"), tmp_path).detection("mae")


def test_a_claim_is_not_about_the_models_whose_detectors_calibrate_it(params, tmp_path):
    profile = params.of("embedded").model_copy(update={"detected": ("dino",), "detected_end_to_end": ("mae",)})
    more = params.model_copy(update={"profiles": params.profiles | {"embedded": profile}})
    inputs = Inputs("embedded")
    known = Readings(more, inputs, tmp_path).detectors()
    assert list(known) == [("mae", "end-to-end"), ("dino", "final")]
    before = repr(inputs)
    for accuracy in known.values():
        with pytest.raises(MissingArtifact, match="detect/"):
            accuracy()
    assert repr(inputs) == before
    with pytest.raises(MissingArtifact):
        Readings(more, inputs, tmp_path).detection("dino")
    assert repr(inputs) != before


def test_slips_get_the_nearest_name(params, tmp_path):
    with pytest.raises(InvalidInput, match=r"embeded[\s\S]*embedded\?"):
        Readings(params, Inputs("embeded"), tmp_path).cka("moco_v3", "dino")
    with pytest.raises(InvalidInput, match=r"moco3[\s\S]*moco_v3"):
        Readings(params, Inputs("embedded"), tmp_path).knn("moco3")


def test_an_artifact_of_another_profile_is_refused(params, tmp_path):
    write_pair(tmp_path, "dino", "moco_v3", profile="paper")
    inputs = Inputs("embedded")
    with pytest.raises(InvalidInput, match=r"profile[\s\S]*paper[\s\S]*embedded"):
        Readings(params, inputs, tmp_path).cka("moco_v3", "dino")
    assert inputs.artifacts == {}


def test_a_cast_puts_other_runs_in_the_places_of_the_models_that_a_claim_names(params, tmp_path):
    write_pair(tmp_path, "mae", "moco_v3")
    inputs = Inputs("embedded")
    cka = Readings(params, inputs, tmp_path).cka
    inputs.assignment = {"dino": "mae"}
    cast = cka("moco_v3", "dino")
    assert cast.names == ("moco_v3", "mae")
    assert inputs.roles == {"moco_v3", "dino"}
    inputs.assignment, inputs.values_only = {}, True
    bare = cka("moco_v3", "mae").same_depth()
    assert bare.value == pytest.approx(cast.same_depth().value)
    assert (len(bare.draws), len(cast.same_depth().draws)) == (1, DRAWS)


def joined(params, name, model, *lists):
    """The parameters with one more model, which the embedded profile names in the given lists."""
    embedded = params.of("embedded")
    named = embedded.model_copy(update={field: (*getattr(embedded, field), name) for field in lists})
    models, profiles = params.models | {name: model}, params.profiles | {"embedded": named}
    return params.model_copy(update={"models": models, "profiles": profiles})


def test_the_panel_has_every_method_and_its_runs(params):
    mae = params.models["mae"]
    recipe = mae.weights["embedded"]
    again = mae.model_copy(update={"replicate_of": "mae", "weights": {"embedded": recipe.model_copy(update={"seed": 90})}})
    more = joined(params, "mae_again", again, "models", "references")
    panel = Readings(more, Inputs("embedded")).panel()
    assert list(panel.runs) == [*worlds.JE, *worlds.REC]
    assert panel.runs["mae"] == [*params.replicates("mae", "embedded"), "mae_again"]
    assert panel.untrained == worlds.UNTRAINED
    assert panel.instrument.supervised == ["supervised"]
    kinds = {"moco_v3_resnet50": "resnet50", "dino_resnet50": "resnet50", "fcmae": "convnextv2"}
    assert panel.instrument.own_kind == {model: [f"random_{kind}"] for model, kind in kinds.items()}
    assert Readings(more, Inputs("embedded")).family("rec") == ["mae"]


@pytest.mark.parametrize("of", [None, "je", "rec", "random"])
def test_a_model_that_is_no_reference_enters_no_claim_of_the_paper(params, of):
    mine = params.models["mae"].model_copy(update={"family": of})
    more = joined(params, "mine", mine, "models")
    for name in ("je", "rec", "random"):
        known, found = (Readings(p, Inputs("embedded")).family(name) for p in (params, more))
        assert found == known
    before, after = (Readings(p, Inputs("embedded")).panel() for p in (params, more))
    assert (after.runs, after.untrained) == (before.runs, before.untrained)
    assert after.instrument.supervised == before.instrument.supervised


def test_embeddings_are_held_against_others_by_what_is_handed_on(tmp_path):
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    raw["models"]["mine"] = {"architecture": None, "weights": {"embedded": {"features": "mine.npz", "sha256": "a" * 64}}}
    raw["profiles"]["embedded"]["models"].append("mine")
    params, inputs = check_params(raw, "params.yaml"), Inputs("embedded")
    own = np.random.default_rng(0).uniform(1, 2, size=16)
    sha = write(
        tmp_path,
        "final",
        "mine/mae",
        FINAL,
        {"common": np.full(30, 5), "k": [10], "cross": own / 2, "self_a": own, "self_b": own},
    )
    readings = Readings(params, inputs, tmp_path)
    final, mutual = readings.final, readings.final_mutual
    assert final("mae", "mine").same_depth().value == pytest.approx(0.5)
    assert (mutual("mine", "mae").same_depth().value, mutual("mine", "mae").same_depth().n) == (0.5, 30)
    inputs.values_only = True
    assert (len(final("mine", "mae").same_depth().draws), len(mutual("mine", "mae").same_depth().draws)) == (1, 1)
    assert inputs.artifacts == {"artifacts/embedded/final/mine.safetensors": sha}
    assert readings.measures("mine") == {"final": final, "final_mutual": mutual}
    for name in ("cka", "mutual", "cls"):
        with pytest.raises(MissingArtifact, match="no blocks"):
            getattr(Readings(params, inputs, tmp_path), name)("mae", "mine")


def test_families_come_from_the_parameters(fixtures, params):
    readings = Readings(params, Inputs("embedded"))
    assert [given(getattr(fixtures, name))(readings) for name in ("je", "rec", "untrained")] == [
        worlds.JE,
        worlds.REC,
        worlds.UNTRAINED,
    ]


def test_kinship_is_with_the_runs_of_the_papers_methods(fixtures, params):
    kinship = given(fixtures.kinship)(Readings(params, Inputs("embedded")), "supervised")(worlds.pair)
    assert kinship.je == {method: params.replicates(method, "embedded") for method in worlds.JE}
    assert kinship.rec == {"mae": params.replicates("mae", "embedded")}
    assert kinship.untrained == worlds.UNTRAINED
    with pytest.raises(InvalidInput, match="supervised"):
        Readings(params, Inputs("embedded")).kinship("superwised", worlds.pair)
    with pytest.raises(MissingArtifact, match="laptop"):
        Readings(params, Inputs("laptop")).kinship("supervised", worlds.pair)
