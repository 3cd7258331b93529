"""params.yaml: what is right loads, and every slip is answered with the key, what was seen and what was expected."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.params import wording
from harness.params.load import UniqueKeys, check_params, load_params
from harness.params.models import Embeddings, Released
from harness.params.recipes import MaeRecipe, RandomRecipe

PROJECT = ROOT / "params.yaml"
RAW: dict[str, Any] = yaml.safe_load(PROJECT.read_text())
MAE = RAW["models"]["mae"]["weights"]["embedded"]


def changed(key: str, value: Any) -> dict[str, Any]:
    """The project's parameters with another value at a dotted key."""
    raw = copy.deepcopy(RAW)
    *path, last = key.split(".")
    holder = raw
    for part in path:
        holder = holder[part]
    holder[last] = value
    return raw if key.split(".")[0] == "profile" else measured(raw)


def measured(raw: dict[str, Any]) -> dict[str, Any]:
    """With an alias of the profile, which a copy of plain values has not."""
    embedded = raw["profiles"]["embedded"]
    if isinstance(raw["profile"], dict):
        raw["profile"] = {key: embedded[key] for key in raw["profile"] if key in embedded}
    return raw


def refusal(raw: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_params(raw, "params.yaml")
    assert caught.value.exit_code == 12
    return caught.value


def test_the_projects_own_parameters_load() -> None:
    loaded = load_params(PROJECT)
    assert loaded.profile in loaded.profiles
    assert set(loaded.references) <= set(loaded.models)
    assert loaded.of("embedded").extract.images == RAW["profiles"]["embedded"]["extract"]["images"]
    assert set(loaded.of("embedded").models) == {name for name, entry in loaded.models.items() if "embedded" in entry.weights}
    for profile in loaded.profiles:
        assert set(loaded.of(profile).references) <= set(loaded.at(profile))
        for name in loaded.at(profile):
            loaded.weights(name, profile)
            loaded.architecture(name, profile)
    assert isinstance(loaded.weights("mae", "embedded"), MaeRecipe)
    assert isinstance(loaded.weights("mae", "paper"), Released)
    assert isinstance(loaded.weights("random", "paper"), RandomRecipe)
    assert check_params(RAW, "params.yaml") == loaded


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("profiles.embedded.sweep_model", "sweep_models"),
        ("modles", "models"),
        ("profiles.embedded.exract", "extract"),
        ("profiles.embedded.extract.minibatchs", "minibatch"),
        ("profiles.embedded.sweep.minibatch", "minibatches"),
        ("profiles.embedded.data.world.jiter", "jitter"),
        ("profiles.paper.data.validation_splt", "validation_split"),
        ("profiles.paper.architectures.vit.option", "options"),
        ("models.mae.famly", "family"),
        ("models.mae.weights.embedded.decoder_with", "decoder_width"),
        ("models.dino.weights.embedded.local_view", "local_views"),
        ("models.mae.weights.paper.layot", "layout"),
        # A key that stands elsewhere is no answer where it may not stand.
        ("profiles.embedded.extract.k", "one of bank, batch, images, minibatch, queries, seed"),
        ("models.mae.weights.embedded.teacher_temperature", "one of base_lr"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_that_may_stand_there(key: str, nearest: str) -> None:
    error = refusal(changed(key, 1))
    assert (error.field, error.seen) == (key, key.rpartition(".")[2])
    if nearest.startswith("one of"):
        assert str(error.expected).startswith(nearest)
    else:
        assert str(error.expected).removesuffix("?").split(" or ")[0] == nearest


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("profiles.embedded.extract.minibatch", "32", "valid integer"),
        ("profiles.embedded.extract.minibatch", 32.0, "valid integer"),
        ("profiles.embedded.extract.minibatch", True, "valid integer"),
        ("profiles.embedded.extract.minibatch", None, "valid integer"),
        ("profiles.embedded.extract.minibatch", 3, "greater than or equal to 4"),
        ("profiles.embedded.extract.seed", -1, "greater than or equal to 0"),
        ("profiles.embedded.knn.temperature", "0.07", "valid number"),
        ("profiles.embedded.knn.temperature", True, "valid number"),
        ("profiles.embedded.knn.temperature", 0.0, "greater than 0"),
        ("profiles.embedded.knn.temperature", float("inf"), "finite"),
        ("profiles.embedded.data.world.tilt", float("nan"), "finite"),
        ("profiles.embedded.data.world.flip", 1, "valid boolean"),
        ("profiles.paper.data.reader", 3, "valid string"),
        ("profiles.embedded.data.sprites", "digit", "'digits'"),
        ("profiles.embedded.data.kind", "scene", "'scenes'"),
        ("profiles.embedded.sweep.minibatches", [], "at least 1 item"),
        ("profiles.embedded.sweep.images", [], "at least 1 item"),
        ("models.mae.weights.embedded.objective", "moe", "'mae'"),
        ("models.mae.weights.embedded.epochs", 0, "greater than or equal to 1"),
        ("models.mae.weights.embedded.epochs", "ten", "valid integer"),
        ("models.mae.weights.paper.layout", "beit", "'moco_v3'"),
        ("models.mae.weights.paper.sha256", "ABC", "pattern"),
        ("models.mae.family", "recs", "'rec'"),
        ("profiles.embedded.sweep_models", ["mae"], "Field required"),
        ("profiles.embedded.references", "mae", "valid tuple"),
        ("profiles.embedded.references", ["mae"], "at least 2 items"),
        ("profiles.embedded.models", [], "at least 1 item"),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_and_never_converted(key: str, value: Any, expected: str) -> None:
    error = refusal(changed(key, value))
    assert error.field.startswith(key)
    assert expected in str(error.expected)
    if value is not None and not isinstance(value, list):
        assert error.seen == repr(value)


@pytest.mark.parametrize(
    "key",
    [
        "profile",
        "profiles.embedded.knn.k",
        "models.mae.architecture",
        "profiles.paper.data.kind",
        "profiles.paper.data.root",
        "profiles.paper.data.reader",
    ],
)
def test_a_missing_key_is_named(key: str) -> None:
    raw = copy.deepcopy(RAW)
    *path, last = key.split(".")
    holder = raw
    for part in path:
        holder = holder[part]
    del holder[last]
    error = refusal(raw)
    assert (error.field, error.seen, error.expected) == (key, "nothing", "Field required")


@pytest.mark.parametrize(
    ("holder", "key", "slip"),
    [
        ("profiles.embedded", "sweep_models", "sweep_model"),
        ("", "models", "model"),
        ("models.mae", "family", "familly"),
        ("models.mae.weights.embedded", "crop", "crops"),
        ("models.mae.weights.paper", "licence", "license"),
        ("profiles.embedded.extract", "queries", "querys"),
        ("profiles.paper.data", "reader", "readr"),
    ],
)
def test_a_slip_in_a_required_key_names_what_was_meant_and_not_what_is_missing(holder: str, key: str, slip: str) -> None:
    raw = copy.deepcopy(RAW)
    above = raw
    for part in holder.split(".") if holder else []:
        above = above[part]
    above[slip] = above.pop(key)
    error = refusal(raw)
    assert (error.field, error.seen) == (f"{holder}.{slip}".removeprefix("."), slip)
    assert str(error.expected).removesuffix("?").split(" or ")[0] == key


def test_a_slip_in_what_tells_a_recipe_says_that_it_is_missing() -> None:
    raw = changed("models.mae.weights.embedded", {"objectiv" if k == "objective" else k: v for k, v in MAE.items()})
    error = refusal(raw)
    assert (error.field, error.seen) == ("models.mae.weights.embedded.objective", "nothing")


@pytest.mark.parametrize("name", ["Mae", "mae-2", "mae 2", "", "mäe", "mae\n", "a.b", "a/b", "../a"])
@pytest.mark.parametrize("holder", ["models", "profiles", "models.mae.weights", "profiles.embedded.architectures"])
def test_names_that_stand_in_paths_are_lower_case_letters_digits_and_underscores(holder: str, name: str) -> None:
    raw = changed(f"{holder}.x", None)
    *path, last = holder.split(".")
    above = raw
    for part in path:
        above = above[part]
    del above[last]["x"]
    above[last][name] = copy.deepcopy(next(iter(above[last].values())))
    error = refusal(raw)
    assert "[a-z0-9_]+" in str(error.expected)
    assert error.seen == repr(name)
    assert holder in error.field


@pytest.mark.parametrize(
    ("key", "value", "field", "nearest"),
    [
        ("profile", "embeded", "profile", "an alias of a profile: *embedded?"),
        ("profile", "embedded", "profile", "an alias of a profile: *embedded?"),
        ("profiles.embedded.models", ["mae", "moko_v3"], "profiles.embedded.models", "moco_v3"),
        ("profiles.paper.references", ["mae", "moko_v3"], "profiles.paper.references", "moco_v3"),
        ("profiles.embedded.sweep_models", ["mea", "moco_v3"], "profiles.embedded.sweep_models", "mae?"),
        ("models.mae.architecture", "vitt", "models.mae.architecture", "vit?"),
        ("models.mae.weights.embeded", MAE, "models.mae.weights", "embedded?"),
    ],
)
def test_a_name_that_stands_for_nothing_is_answered_with_the_nearest(key: str, value: Any, field: str, nearest: str) -> None:
    error = refusal(changed(key, value))
    assert error.field == field
    # The nearest comes first, and runs of one method have like names.
    assert str(error.expected).startswith(nearest)


def test_of_many_names_a_message_lists_the_first() -> None:
    names = [f"n{i:03}" for i in range(30)]
    assert wording.nearest("other", names).endswith("n023 and 6 more")
    assert wording.nearest("other", names[:24]) == f"one of {', '.join(names[:24])}"
    assert wording.nearest("n02", names[:3]) == "n002?"


def test_lookups_of_unknown_names_are_answered_with_the_nearest() -> None:
    known = load_params(PROJECT)
    with pytest.raises(InvalidInput, match=r"expected: moco_v3\b"):
        known.model("mocov3")
    with pytest.raises(InvalidInput, match=r"expected: embedded\?"):
        known.of("embeded")
    with pytest.raises(InvalidInput, match=r"one of dino, [a-z0-9_, ]*supervised"):
        known.model("zzz")


def test_a_model_compared_twice_is_refused() -> None:
    error = refusal(changed("profiles.embedded.references", ["mae", "dino", "mae"]))
    assert (error.field, error.seen) == ("profiles.embedded.references", "mae, dino, mae")
    assert refusal(changed("profiles.embedded.sweep_models", ["mae", "mae"])).field == "profiles.embedded.sweep_models"
    assert refusal(changed("profiles.embedded.models", ["mae", "mae"])).field == "profiles.embedded.models"


def test_the_profile_to_measure_is_one_of_the_profiles() -> None:
    """dvc.yaml reads the profile's models from the alias: a copy that says anything else would be measured."""
    other = copy.deepcopy(RAW["profiles"]["embedded"]) | {"models": ["mae"]}
    error = refusal(changed("profile", other))
    assert (error.field, error.expected) == (
        "profile.models",
        "the models that profiles.embedded has, by the alias profile: *embedded",
    )
    error = refusal(changed("profile", other | {"name": "embeded"}))
    assert (error.field, error.expected) == ("profile", "an alias of a profile: *" + ", *".join(RAW["profiles"]))
    assert check_params(changed("profile", RAW["profiles"]["paper"]), "params.yaml").profile == "paper"
    error = refusal(changed("profiles.paper.name", "pape"))
    assert (error.field, error.seen, error.expected) == ("profiles.paper.name", "pape", "paper")


def test_a_model_need_not_exist_at_every_profile() -> None:
    raw = changed("models.mae.weights", {at: w for at, w in RAW["models"]["mae"]["weights"].items() if at != "paper"})
    with pytest.raises(MissingArtifact, match=r"add models\.mae\.weights\.paper: a recipe to train, or file"):
        check_params(raw, "params.yaml")
    for field in ("models", "references"):
        raw["profiles"]["paper"][field].remove("mae")
    raw["profiles"]["paper"]["sweep_models"] = ["moco_v3", "dino"]
    known = check_params(raw, "params.yaml")
    assert "mae" not in known.at("paper")
    assert known.compared("dino", "paper") == ["moco_v3", "dino"]
    assert known.compared("dino", "embedded") == ["moco_v3", "dino"]
    assert "mae" in known.compared("random", "embedded")
    assert "mae" not in known.compared("random", "paper")
    # It is a method of the paper still, and missing there.
    assert "mae" in known.references
    with pytest.raises(InvalidInput, match=r"profiles\n  seen: papr\n  expected: paper\?"):
        known.weights("mae", "papr")


def test_a_model_of_timm_or_of_the_hub_is_its_file_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    known = check_params(changed("models.mae.weights.paper", {"timm": "vit_base_patch16_224.mae"}), "params.yaml")
    weights = known.weights("mae", "paper")
    assert isinstance(weights, Released)
    assert weights.url == "https://huggingface.co/timm/vit_base_patch16_224.mae/resolve/main/model.safetensors"
    assert (weights.path, weights.layout) == (Path("weights/timm--vit_base_patch16_224.mae.safetensors"), "plain")
    # What is checked again stays what it is.
    assert Released.model_validate(weights.model_dump(exclude={"url"})) == weights
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    known = check_params(changed("models.mae.weights.paper", {"hub": "somebody/vit.b-16"}), "params.yaml")
    mirrored = known.weights("mae", "paper")
    assert isinstance(mirrored, Released)
    assert mirrored.url == "http://127.0.0.1:9/somebody/vit.b-16/resolve/main/model.safetensors"
    assert mirrored.path == Path("weights/somebody--vit.b-16.safetensors")


@pytest.mark.parametrize(
    ("weights", "seen"),
    [
        ({"timm": "vit_base_patch16_224"}, "vit_base_patch16_224"),
        ({"hub": "somebody"}, "somebody"),
        ({"hub": "../x"}, "../x"),
        ({"hub": "a/b", "timm": "vit.x"}, "one of timm, hub"),
        ({"hub": "a/b", "url": "https://a.b/c"}, "one of url, hub"),
    ],
)
def test_what_is_no_name_of_a_hub_is_refused(weights: dict[str, str], seen: str) -> None:
    error = refusal(changed("models.mae.weights.paper", weights))
    assert error.field.startswith("models.mae.weights.paper")
    assert seen in str(error)


def test_a_model_needs_a_family_to_be_a_reference() -> None:
    mine = {key: value for key, value in RAW["models"]["supervised"].items() if key != "family"}
    raw = changed("models.mine", mine)
    raw["profiles"]["embedded"]["models"] = [*raw["profiles"]["embedded"]["models"], "mine"]
    measured(raw)
    assert check_params(raw, "params.yaml").model("mine").family is None
    raw["profiles"]["embedded"]["references"] = [*raw["profiles"]["embedded"]["references"], "mine"]
    error = refusal(raw)
    assert (error.field, error.seen) == ("models.mine.family", "none")


def handed_on(**changes: Any) -> dict[str, Any]:
    """The project's parameters with a model of embeddings."""
    mine = {"architecture": None, "weights": {"embedded": {"features": "mine.npz", "sha256": "a" * 64}}} | changes
    raw = changed("models.mine", mine)
    raw["profiles"]["embedded"]["models"] = [*raw["profiles"]["embedded"]["models"], "mine"]
    return measured(raw)


def test_embeddings_stand_in_the_place_of_weights_and_have_no_network() -> None:
    known = check_params(handed_on(), "params.yaml")
    weights = known.weights("mine", "embedded")
    assert isinstance(weights, Embeddings)
    assert weights.path == Path("mine.npz")
    with pytest.raises(InvalidInput, match=r"models.mine[\s\S]*embeddings[\s\S]*a model with a network"):
        known.architecture("mine", "embedded")


@pytest.mark.parametrize(
    ("changes", "field", "seen"),
    [
        ({"architecture": "vit"}, "models.mine.architecture", "vit"),
        ({"weights": {"embedded": MAE}}, "models.mine.architecture", "null"),
        ({"family": "je"}, "models.mine.family", "je"),
        ({"weights": {"embedded": {"features": "mine.npz"}}}, "models.mine.weights.embedded.sha256", "nothing"),
        (
            {"weights": {"embedded": {"features": "mine.npz", "sha": "a" * 64}}},
            "models.mine.weights.embedded.sha",
            "sha",
        ),
    ],
)
def test_embeddings_that_say_what_only_networks_have_are_refused(changes: dict[str, Any], field: str, seen: str) -> None:
    error = refusal(handed_on(**changes))
    assert (error.field, seen in str(error.seen)) == (field, True)


@pytest.mark.parametrize("field", ["finetuned", "sweep_models"])
def test_embeddings_are_not_asked_for_where_a_network_is_needed(field: str) -> None:
    raw = handed_on()
    profile = raw["profiles"]["embedded"]
    profile[field] = [*profile[field][:-1], "mine"]
    error = refusal(raw)
    assert (error.field, error.seen) == (f"profiles.embedded.{field}", "mine")


def test_a_model_with_weights_that_its_profile_does_not_name_is_refused() -> None:
    error = refusal(changed("models.mae_half", RAW["models"]["mae"]))
    assert error.field == "models.mae_half.weights.embedded"
    assert str(error.expected).startswith("mae_half among profiles.embedded.models")
    error = refusal(changed("profiles.embedded.references", ["mae", "random", "beit"]))
    assert (error.field, error.seen) == ("profiles.embedded.references", "beit")


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("extract.images", 1000, "", "a multiple of extract.minibatch, 32"),
        ("extract.batch", 100, "", "a multiple of extract.minibatch, 32"),
        ("extract.batch", 16, "", "a multiple of extract.minibatch, 32"),
        ("extract.images", 4128, "", "at most extract.queries, 4096"),
        ("knn.k", 8193, "", "at most extract.bank, 8192"),
        ("probe.images", 8193, "", "at most extract.bank, 8192"),
        ("similarity.k", 1024, "", "below extract.images, 1024"),
        ("generation.side", 16, "", "none: scenes are drawn as vectors"),
        ("similarity.subsets", 257, "", "at most 256: 4 of the 1024"),
        ("sweep.minibatches", [3, 6], ".0", "at least 4"),
        ("sweep.minibatches", [64, 32, 1024, 96], ".3", "a divisor of the largest, 1024"),
        ("sweep.images", [1024, 1536], ".1", "a multiple of the largest of sweep.minibatches, 1024"),
        ("sweep.images", [512], ".0", "a multiple of the largest of sweep.minibatches, 1024"),
        ("detection.levels", [0.5, 3], "", "0.25, 0.5, 1 or 2 sides"),
        ("detection.anchors", [6], "", "one for each of detection.levels, 2"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(key: str, value: Any, field: str, expected: str) -> None:
    error = refusal(changed(f"profiles.embedded.{key}", value))
    assert error.field == f"profiles.embedded.{key}{field}"
    assert str(error.expected).startswith(expected)
    assert error.seen == (value[int(field[1:])] if field else value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extract.images", 2048),
        ("extract.batch", 32),
        ("knn.k", 8192),
        ("probe.images", 8192),
        ("probe.views", 0),
        ("similarity.k", 1023),
        ("similarity.subsets", 256),
        ("sweep.minibatches", [4, 1024]),
        ("sweep.images", [3072]),
        ("data.train", 1),
    ],
)
def test_sizes_at_the_limit_are_taken(key: str, value: Any) -> None:
    assert check_params(changed(f"profiles.embedded.{key}", value), "params.yaml")


def test_sizes_are_checked_in_every_profile_and_a_crop_beyond_the_image_is_refused() -> None:
    assert refusal(changed("profiles.paper.extract.batch", 65)).field == "profiles.paper.extract.batch"
    error = refusal(changed("profiles.paper.data.resize", 223))
    assert (error.field, error.seen) == ("profiles.paper.data.resize", 223)


def test_a_merge_key_brings_what_is_not_said_anew() -> None:
    """DVC reads the file with another library and must see the same: it says by that what is stale."""
    text = "a: &a {k: 1, l: 2}\nb: {<<: *a, k: 3}\n"
    read = yaml.load(text, Loader=UniqueKeys)
    assert read["b"] == {"k": 3, "l": 2} == parse_yaml(text, "params.yaml")["b"]
    assert parse_yaml(PROJECT.read_text(), str(PROJECT)) == RAW


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile: a\nmodels: {}\nprofile: b\n", r"duplicate key 'profile' in \S+params\.yaml., line 3, column 1"),
        ("models:\n  a: {k: 1,\n      k: 2}\n", r"duplicate key 'k' in \S+params\.yaml., line 3, column 7"),
        ("a: &a {k: 1}\nb: {<<: *a, k: 2, k: 3}\n", r"duplicate key 'k' in \S+params\.yaml., line 2, column 19"),
        ("a: &a {k: 1}\nb: {<<: *a, <<: *a}\n", r"duplicate key '<<' in \S+params\.yaml., line 2, column 13"),
        ("a: {<<: 3}\n", r"YAML\n  seen: .*merging"),
        ("profile: [\n", r"YAML\n  seen: .*line 2"),
        ("\tprofile: a\n", r"YAML\n  seen: .*line 1"),
        ("? [1]\n: 2\n", r"YAML\n  seen: .*unhashable"),
        ("a: !!python/object/apply:os.system ['true']\n", r"YAML\n  seen: could not determine a constructor"),
        ("\xff", r"expected: valid YAML"),
        ("[" * 5000, r"YAML\n  seen: maximum recursion"),
        ("a: 2020-13-45\n", r"YAML\n  seen: month must be"),
        ("a: 0b_\n", r"YAML\n  seen: invalid literal"),
        ("a: &a [*a]\n", r"YAML\n  seen: a value that contains itself"),
        ("a: 1\n---\nb: 1\n", r"YAML\n  seen: expected a single document"),
        ("", r"the whole file\n  seen: None"),
        ("# nothing\n", r"the whole file\n  seen: None"),
        ("- profile\n", r"the whole file\n  seen: \('profile',\)"),
    ],
)
def test_a_file_that_is_no_mapping_of_parameters_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match=message) as caught:
        load_params(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run from the project's root") as caught:
        load_params(tmp_path / "params.yaml")
    assert caught.value.exit_code == 13


def test_a_number_that_yaml_takes_for_text_is_refused(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3, without a point, as text."""
    path = tmp_path / "params.yaml"
    path.write_text(PROJECT.read_text().replace("temperature: 0.07", "temperature: 7e-2", 1))
    with pytest.raises(InvalidInput, match=r"profiles\.embedded\.knn\.temperature\n  seen: '7e-2'\n  expected: .*number"):
        load_params(path)


def test_parameters_cannot_be_changed_after_they_were_checked() -> None:
    known = load_params(PROJECT)
    with pytest.raises(ValueError, match="frozen"):
        known.of("embedded").knn.k = 3


def replicated(**changes: Any) -> dict[str, Any]:
    """The project's parameters with a second run of MAE at the embedded profile, and changes to it."""
    raw = copy.deepcopy(RAW)
    entry = {
        "family": "rec",
        "architecture": "vit",
        "replicate_of": "mae",
        "weights": {"embedded": raw["models"]["mae"]["weights"]["embedded"] | {"seed": 11}},
    }
    raw["models"]["mae_again"] = entry | changes
    for profile in raw["models"]["mae_again"]["weights"]:
        raw["profiles"][profile]["models"].append("mae_again")
    return raw


def test_a_replicate_is_the_same_model_with_another_seed() -> None:
    loaded = check_params(replicated(), "params.yaml")
    assert loaded.replicates("mae", "embedded")[:: len(loaded.replicates("mae", "embedded")) - 1] == ["mae", "mae_again"]
    assert loaded.replicates("mae", "paper") == ["mae"]
    assert loaded.replicates("random", "embedded") == ["random"]


@pytest.mark.parametrize(
    ("changes", "field", "seen"),
    [
        ({"replicate_of": "may"}, "replicate_of", "may"),
        ({"family": "je"}, "family", "je"),
        ({"weights": {"embedded": MAE | {"seed": 11, "mask": 0.6}}}, "weights.embedded", "another recipe in mask"),
        ({"weights": {"embedded": MAE}}, "weights.embedded.seed", "0, as mae has"),
        ({"weights": {"paper": RAW["models"]["mae"]["weights"]["paper"]}}, "weights.paper", "Released"),
        ({"weights": {"embedded": {"objective": "random", "seed": 11}}}, "weights.embedded", "another recipe in"),
    ],
)
def test_a_replicate_that_is_another_model_is_refused(changes: dict[str, Any], field: str, seen: str) -> None:
    error = refusal(replicated(**changes))
    assert error.field == f"models.mae_again.{field}"
    assert str(error.seen).startswith(seen)


def test_a_replicate_of_a_replicate_is_refused() -> None:
    raw = replicated()
    third = copy.deepcopy(raw["models"]["mae_again"]) | {"replicate_of": "mae_again"}
    third["weights"]["embedded"]["seed"] = 12
    raw["models"]["mae_thrice"] = third
    raw["profiles"]["embedded"]["models"].append("mae_thrice")
    error = refusal(raw)
    assert (error.field, error.expected) == ("models.mae_thrice.replicate_of", "a model, not a replicate: mae?")


def test_anchors_are_of_models_that_the_profile_has() -> None:
    assert load_params(PROJECT).of("paper").anchors == {"dino": 76.1}
    assert refusal(changed("profiles.paper.anchors", {"supervised": 90.0})).field == "profiles.paper.anchors"
    assert refusal(changed("profiles.paper.anchors", {"dino": 0.0})).field == "profiles.paper.anchors.dino"


def test_models_are_fine_tuned_by_a_recipe_that_the_profile_has() -> None:
    assert load_params(PROJECT).of("paper").finetuned == ()
    nearest = refusal(changed("profiles.embedded.finetuned", ["mea"]))
    assert (nearest.field, nearest.seen) == ("profiles.embedded.finetuned", "mea")
    assert refusal(changed("profiles.embedded.finetuned", ["mae", "mae"])).expected == "each model once"
    lacking = refusal(changed("profiles.paper.finetuned", ["mae"]))
    assert (lacking.field, lacking.seen) == ("profiles.paper.finetune", "none for mae")
    assert refusal(changed("profiles.embedded.finetune.batch", 33)).field == "profiles.embedded.finetune"


def test_detectors_by_block_are_compared_with_those_of_both_blocks() -> None:
    raw = changed("profiles.embedded.detected_by_block", ["mae"])
    raw["profiles"]["embedded"]["detected_deeper"] = ["dino"]
    error = refusal(raw)
    assert (error.field, error.seen, error.expected) == ("profiles.embedded.detected_by_block", "mae", "one of dino")


def test_detectors_that_train_the_backbone_need_what_it_is_trained_by() -> None:
    raw = changed("profiles.embedded.detected_end_to_end", ["mae"])
    raw["profiles"]["embedded"]["detection"]["end_to_end"] = None
    error = refusal(measured(raw))
    assert (error.field, error.seen) == ("profiles.embedded.detection.end_to_end", "none for mae")
    assert "Table A7" in str(error.expected)


def test_a_fine_tuned_model_is_called_by_the_one_that_it_started_as() -> None:
    known = load_params(PROJECT)
    settings = known.of("embedded")
    assert known.at("embedded") == [*settings.models, *(f"{name}_ft" for name in settings.finetuned)]
    assert known.at("paper") == list(known.of("paper").models)
    assert known.model("mae_ft") == known.model("mae")
    assert known.weights("mae_ft", "embedded") == known.weights("mae", "embedded")
    assert known.architecture("mae_ft", "embedded") == known.architecture("mae", "embedded")
    with pytest.raises(InvalidInput, match="seen: mea"):
        known.model("mea_ft")
    with pytest.raises(MissingArtifact, match=r"(?s)profiles.embedded.finetuned has .*add supervised to it"):
        known.weights("supervised_ft", "embedded")
    raw = changed("models.mae_ft", {"architecture": "vit", "weights": {}})
    assert refusal(raw).expected == "another name: mae_ft is mae when it is fine-tuned"


def test_fine_tuned_models_are_compared_with_references_and_with_fine_tuned_ones() -> None:
    raw = changed("profiles.embedded.finetuned", ["mae", "moco_v3", "supervised"])
    for profile in (raw["profile"], raw["profiles"]["embedded"]):
        profile |= {"generated": [], "sampled": []}
    known = check_params(raw, "params.yaml")
    references = list(known.of("embedded").references)
    assert known.compared("supervised", "embedded") == references
    # In the order of the references, whatever that of the fine-tuned models is; no other model is added by one that is none.
    assert known.compared("moco_v3_ft", "embedded") == [*references, "moco_v3_ft"]
    assert known.compared("mae_ft", "embedded") == [*references, "moco_v3_ft", "mae_ft"]
    assert known.compared("supervised_ft", "embedded") == [*references, "moco_v3_ft", "mae_ft"]


def test_a_replicate_is_its_model_with_another_seed() -> None:
    known = load_params(PROJECT)
    assert (known.models["mae_1"].family, known.models["mae_1"].architecture) == ("rec", "vit")
    assert list(known.models["mae_1"].weights) == ["embedded"]
    first, again = (known.weights(name, "embedded") for name in ("mae", "mae_1"))
    assert again.model_dump() == first.model_dump() | {"seed": 1}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"replicate_of": "may", "seed": 1}, "models.mae_1.replicate_of"),
        ({"replicate_of": "mae", "seed": -1}, "models.mae_1.weights.embedded"),
        ({"replicate_of": "mae", "seed": 0}, "models.mae_1.weights.embedded"),
        ({"replicate_of": "mae", "sed": 1}, "models.mae_1"),
        ({"replicate_of": "mae_2", "seed": 5}, "models.mae_1"),
    ],
)
def test_a_replicate_that_cannot_be_made_is_refused(entry: dict[str, Any], field: str) -> None:
    assert refusal(changed("models.mae_1", entry)).field.startswith(field)


def test_the_measured_profile_says_the_same_as_the_profile_of_its_name() -> None:
    raw = yaml.safe_load(PROJECT.read_text())
    assert set(raw["profile"]) == {
        "name",
        "models",
        "sweep_models",
        "finetuned",
        "detected",
        "detected_deeper",
        "detected_by_block",
        "detected_end_to_end",
        "segmented",
        "generated",
        "sampled",
    }
    assert check_params(raw, "params.yaml").profile == "embedded"
    error = refusal(changed("profile.finetuned", ["mae"]))
    assert (error.field, "alias profile: *embedded" in str(error.expected)) == ("profile.finetuned", True)


def test_a_detector_without_images_has_no_side() -> None:
    detection = load_params(PROJECT).of("embedded").detection
    assert detection is not None
    assert detection.world is not None
    assert detection.side == detection.world.size
    with pytest.raises(InvalidInput, match="detection"):
        _ = detection.model_copy(update={"world": None}).side
