"""The stages generate and sample with few images: what they write, that they repeat it, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifacts import shipped, store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.tables import LOSS, SAMPLES
from harness.data import mirrors
from harness.page import samples as page_samples
from harness.params.load import load_params
from harness.readings.samples import Samples
from harness.stages import accept, generate, sample, weights
from harness.stages.place import Place
from harness.training import diffusion
from tests.stages.conftest import copied_pipeline

# The judge is an untrained network here: what classes it finds is not the point.
MODELS = ("random", "random_learned")
SOURCES, EACH = 4, 3


def place_of(**changes: object) -> Place:
    known = load_params(ROOT / "params.yaml")
    profile = known.of("embedded")
    assert profile.generation is not None
    assert profile.sampling is not None
    few = {"images": 64, "width": 32, "depth": 1, "steps": 6, "batch": 8, "warmup_steps": 1}
    drawn = {"sources": SOURCES, "samples": EACH, "steps": 3, "judge": "random", "validation": 16, "levels": (0.0, 0.2)}
    own = {
        "generated": ("cls",),
        "sampled": MODELS,
        "generation": profile.generation.model_copy(update=few),
        "sampling": profile.sampling.model_copy(update=drawn),
        "extract": profile.extract.model_copy(update={"images": 32}),
    }
    profile = profile.model_copy(update=own | changes)
    return Place(known.model_copy(update={"profiles": known.profiles | {"embedded": profile}}), "embedded")


def sampled(place: Place, folder: Path, *, judged_by: int) -> None:
    """Samples of both models in a folder, and all that they are made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sample, "JUDGED_BY", judged_by)
        for model in MODELS:
            weights.run(place, model)
        generate.run(place, "cls")
        for model in MODELS:
            sample.run(place, model, "cls")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    sampled(place_of(), folder, judged_by=64)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sample, "JUDGED_BY", 64)
    return folder


def arrays(folder: Path, model: str) -> store.Arrays:
    return store.read_arrays(folder / place_of().path("samples", "cls", model), SAMPLES)


def test_what_is_written_is_of_the_sources_and_their_mirror_images(folder: Path) -> None:
    found = arrays(folder, "random")
    made = mirrors.candidates(place_of().settings.data, 32, 0)
    expected = np.flatnonzero(mirrors.asymmetry(made) >= 0.3)[:SOURCES]
    assert found["source"].tolist() == expected.tolist()
    assert (found["original"] == made[0][expected]).all()
    assert found["picture"].shape == (SOURCES, EACH, 16, 16, 3)
    assert found["distance"].shape == (2, SOURCES, EACH, 4)
    # The pictures are those of the claims' level, 0.2, the second one.
    assert np.allclose(found["distance"][1], mirrors.distances(found["picture"], made[:, expected]))
    assert Samples.from_arrays(found).mirrored().n == SOURCES
    assert found["factor"].shape == (2, SOURCES, EACH, 6)
    assert Samples.from_arrays(found).kept("x").unit == "sources"
    assert Samples.from_arrays(found, 0.0).distance.tolist() == found["distance"][0].astype(float).tolist()
    with pytest.raises(InvalidInput, match="level"):
        Samples.from_arrays(found, 0.3)


def test_the_losses_of_its_first_steps_are_those_of_a_whole_training(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "KEPT_EVERY", 2)
    monkeypatch.setattr(diffusion, "KEPT_EVERY", 2)
    for name, until in (("whole", None), ("first", 4)):
        monkeypatch.chdir(here)
        (here / name / "artifacts" / "embedded").mkdir(parents=True)
        (here / name / "artifacts" / "embedded" / "checkpoints").symlink_to(here / "artifacts" / "embedded" / "checkpoints")
        monkeypatch.chdir(here / name)
        generate.run(place_of(), "cls", until=until)
    whole, first = (
        store.read_table(here / name / place_of().path("losses", "cls", ending=".json"), LOSS).rows
        for name in ("whole", "first")
    )
    assert whole["step"].tolist() == [2, 4, 6]
    assert first.to_numpy().tolist() == whole.to_numpy()[:2].tolist()
    assert (whole["loss"] > 0).all()
    assert not Path("artifacts/embedded/generator").exists()


def test_what_a_linear_regression_finds_is_one_of_what_features_are_and_nothing_of_noise() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (900, 6)).astype(np.float32)
    features = np.concatenate([truth[:, :5] @ rng.normal(size=(5, 5)), rng.normal(size=(900, 3))], 1).astype(np.float32)
    parts = [torch.from_numpy(part[half]) for part in (features, truth) for half in (slice(600), slice(600, None))]
    learnt, judged, _, wanted = parts
    found = sample._read_out(learnt, truth[:600], judged, wanted.numpy(), (0.0, 1.0))
    assert found.shape == (2, 6)
    assert found[0, :5] == pytest.approx(np.ones(5), abs=0.05)
    assert found[0, 5] == pytest.approx(0, abs=0.05)
    assert (found[1, :5] < found[0, :5]).all()


def test_models_have_the_same_sources_and_other_samples(folder: Path) -> None:
    one, other = (arrays(folder, model) for model in MODELS)
    assert one.provenance.images == other.provenance.images
    assert (one["original"] == other["original"]).all()
    assert (one["picture"] != other["picture"]).any()


def test_samples_are_the_same_when_they_are_drawn_again(here: Path) -> None:
    before = arrays(here, "random").sha256
    sample.run(place_of(), "random", "cls")
    assert arrays(here, "random").sha256 == before


def test_samples_say_which_generator_and_which_judge_they_are_of(folder: Path) -> None:
    assert set(arrays(folder, "random_learned").provenance.inputs) == {
        "generator/cls",
        "checkpoints/random",
        "checkpoints/random_learned",
    }


def test_a_generator_of_other_checkpoints_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)models.*random, random_learned.*expected.*features of random\b"):
        sample.run(place_of(sampled=("random",)), "random", "cls")
    real = sample.final_features

    def another(*given: object, **named: object) -> tuple[object, str]:
        return real(*given, **named)[0], "0" * 64

    monkeypatch.setattr(sample, "final_features", another)
    with pytest.raises(InvalidInput, match=r"(?s)checkpoints/random\b.*generate@embedded-cls"):
        sample.run(place_of(), "random", "cls")


def test_what_is_not_there_is_refused(here: Path) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)sampled.*randon.*random"):
        sample.run(place_of(), "randon", "cls")
    with pytest.raises(MissingArtifact, match=r"(?s)generator/gap.*generate@embedded-gap"):
        sample.run(place_of(), "random", "gap")
    with pytest.raises(InvalidInput, match="generation"):
        generate.run(place_of(generation=None), "cls")
    with pytest.raises(InvalidInput, match="token"):
        generate.run(place_of(), "registers")
    settings = place_of().settings.sampling
    assert settings is not None
    with pytest.raises(InvalidInput, match="asymmetry"):
        sample.run(place_of(sampling=settings.model_copy(update={"asymmetry": 50.0})), "random", "cls")


def test_the_page_shows_sources_beside_their_samples_and_the_shares_of_mirrored_ones(here: Path) -> None:
    place = place_of()
    for figure, said in (page_samples.pictures(place), page_samples.mirrored(place), page_samples.profile(place)):
        assert figure.axes
        assert all(title in said for title in ("untrained", "untrained, learned positions"))
    figure, _ = page_samples.profile(place)
    dashes = {line.get_ydata()[0] for line in figure.axes[0].get_lines() if line.get_marker() == "_"}
    read_out = [arrays(here, model)["read_out"][1, 0] for model in MODELS]
    assert set(read_out) <= dashes
    found = arrays(here, "random")
    sheet = page_samples._sheet(found["original"][:2], found["picture"][:2])
    assert (sheet[17:33, :16] == found["original"][1]).all()
    assert (sheet[17:33, 37:53] == found["picture"][1, 1]).all()
    with pytest.raises(MissingArtifact, match="and cls to its generated"):
        page_samples.pictures(place_of(generated=()))


def test_what_was_drawn_can_be_verified_and_accepted(here: Path) -> None:
    place, root = place_of(), Path("artifacts/embedded")
    found = shipped.read_all(root)
    # A generator of two checkpoints, its losses, and samples of two models from it, their judge and their own checkpoint.
    assert shipped.refuse_other_inputs(root, found) == 2 + 2 + 2 + 3
    copied_pipeline(Path())
    for stage in ("generate", "sample"):
        made, old = accept._measured(place, stage, accept._smallest(place, stage))
        assert made.keys() == old.keys()
        differences = [one for name in made for one in accept._apart(name, made[name], old[name])]
        assert differences
        assert max(one.value for one in differences) == 0
    assert list(made) == ["samples/cls/random"]
    with pytest.raises(InvalidInput, match="names for sample"):
        accept._smallest(place_of(generated=()), "sample")
