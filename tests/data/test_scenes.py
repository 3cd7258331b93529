"""The embedded world: reproducible everywhere, and its class readable from the object only."""

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.artifacts import params
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data import draws, scenes, sprites

TRAIN_DIGEST = "cd7767fb133b25a179480855c9039226028ff913cc5bf8cc9f137da657e07775"
CROWD_DIGEST = "f256c521194729eb279c71232cec1aa932ddf5f843927cb6f9847dd439ff1422"
WORLD = scenes.SceneParams(size=16, scale=(0.55, 1.0), jitter=1.0)
CROWD = scenes.SceneParams(size=64, objects=(1, 6), scale=(0.12, 0.5))


@pytest.fixture(scope="module")
def train():
    return scenes.compose(sprites.load("digits", "train"), WORLD, "train", np.arange(4096))


@pytest.fixture(scope="module")
def validation():
    return scenes.compose(sprites.load("digits", "validation"), WORLD, "validation", np.arange(1024))


@pytest.fixture(scope="module")
def crowd():
    return scenes.compose(sprites.load("digits", "train"), CROWD, "train", np.arange(60))


def test_images_are_bit_identical_on_every_machine(train, crowd):
    assert hashlib.sha256(train.image.tobytes()).hexdigest() == TRAIN_DIGEST
    assert hashlib.sha256(crowd.image.tobytes() + crowd.owner.tobytes()).hexdigest() == CROWD_DIGEST


def test_a_scene_does_not_depend_on_what_else_is_rendered(train):
    some = scenes.compose(sprites.load("digits", "train"), WORLD, "train", np.array([7, 3, 999]))
    np.testing.assert_array_equal(some.image, train.image[[7, 3, 999]])


def test_train_and_validation_share_no_digit(train, validation):
    assert not set(train.sprite.ravel()) & set(validation.sprite.ravel())


def factors(world: scenes.Scenes) -> np.ndarray:
    n = len(world.image)
    columns = [world.scale, world.centre, world.tilt, world.flipped, world.colour, world.background]
    return np.concatenate([np.asarray(c, float).reshape(n, -1) for c in columns] + [np.eye(3)[world.pattern]], axis=1)


def test_class_cannot_be_read_from_the_factors(train, validation):
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(factors(train), train.label[:, 0])
    accuracy = probe.score(factors(validation), validation.label[:, 0])
    # Chance is one in ten; three standard errors of 1,024 images.
    assert abs(accuracy - 0.1) < 3 * np.sqrt(0.09 / 1024)


def test_raw_pixels_are_far_from_the_ceiling(train, validation):
    flat = lambda world: world.image.reshape(len(world.image), -1).astype(np.float32)  # noqa: E731
    knn = KNeighborsClassifier(20).fit(flat(train), train.label[:, 0])
    assert 0.2 < knn.score(flat(validation), validation.label[:, 0]) < 0.65


@pytest.fixture(scope="module")
def embedded():
    """The world that the embedded profile measures, as many scenes of it as its k-NN has."""
    profile = params.load(ROOT / "params.yaml").of("embedded")
    sizes = {"train": profile.extract.bank, "validation": profile.extract.queries}
    return {
        split: scenes.compose(sprites.load(profile.data.sprites, split), profile.data.world, split, np.arange(n))
        for split, n in sizes.items()
    }


def test_class_cannot_be_read_from_the_factors_of_the_embedded_profile(embedded):
    train, validation = embedded["train"], embedded["validation"]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(factors(train), train.label[:, 0])
    accuracy = probe.score(factors(validation), validation.label[:, 0])
    assert abs(accuracy - 0.1) < 3 * np.sqrt(0.09 / len(validation.image))
    # The same model does read what the factors hold: whether the background is dark, from its colours.
    dark = [world.background.mean((1, 2)) < 127.5 for world in (train, validation)]
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(factors(train), dark[0])
    assert reader.score(factors(validation), dark[1]) > 0.99


def test_raw_pixels_leave_a_quarter_of_the_embedded_profiles_images_wrong(embedded):
    train, validation = embedded["train"], embedded["validation"]
    flat = lambda world: world.image.reshape(len(world.image), -1).astype(np.float32)  # noqa: E731
    knn = KNeighborsClassifier(20, algorithm="brute").fit(flat(train), train.label[:, 0])
    # And the task can be done at all: twice as well as chance.
    assert 0.2 < knn.score(flat(validation), validation.label[:, 0]) < 0.75


def test_flip_mirrors_the_object_only():
    digits = sprites.load("digits", "train")
    still = scenes.SceneParams(size=16, scale=(0.8, 0.8), jitter=0.0, tilt=0.0, noise=0)
    mirrored = scenes.compose(digits, still, "train", np.arange(200))
    straight = scenes.compose(digits, still.model_copy(update={"flip": False}), "train", np.arange(200))
    assert mirrored.flipped.any()
    assert not straight.flipped.any()
    expected = np.where(mirrored.flipped[:, 0, None, None], straight.owner[:, :, ::-1], straight.owner)
    np.testing.assert_array_equal(mirrored.owner, expected)


def decode(runs: list[int], size: list[int]) -> np.ndarray:
    values = np.arange(len(runs)) % 2
    return np.repeat(values, runs).reshape(size, order="F").astype(bool)


def test_coco_annotations_describe_the_visible_objects(crowd):
    coco = crowd.coco()
    assert len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"]) > 60
    seen = np.full_like(crowd.owner, -1)
    for a in coco["annotations"]:
        mask = decode(a["segmentation"]["counts"], a["segmentation"]["size"])
        x, y, w, h = a["bbox"]
        assert mask.sum() == a["area"] == mask[y : y + h, x : x + w].sum()
        owner = crowd.owner[a["image_id"] - 1][mask]
        assert len(set(owner)) == 1
        assert crowd.label[a["image_id"] - 1, owner[0]] + 1 == a["category_id"]
        seen[a["image_id"] - 1][mask] = owner
    np.testing.assert_array_equal(seen, crowd.owner)


def test_draws_are_uniform_and_streams_differ():
    index = np.arange(100_000)
    a, b = draws.uniform(0, "a", index), draws.uniform(0, "b", index)
    assert abs(a.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.02
    assert sorted(draws.permutation(3, "p", 50)) == list(range(50))


def test_bad_worlds_are_refused(tmp_path):
    digits = sprites.load("digits", "train")
    with pytest.raises(InvalidInput, match="objects"):
        scenes.compose(digits, WORLD.model_copy(update={"objects": (3, 2)}), "train", np.arange(2))
    with pytest.raises(InvalidInput, match="scale"):
        scenes.compose(digits, WORLD.model_copy(update={"scale": (0.9, 0.2)}), "train", np.arange(2))
    with pytest.raises(InvalidInput, match="train or validation"):
        sprites.load("digits", "test")
    with pytest.raises(InvalidInput, match="fashion_mnist"):
        sprites.load("digitz", "train")
    with pytest.raises(MissingArtifact, match=r"params\.yaml"):
        sprites.load("mnist", "train", tmp_path)
