"""The embedded world: reproducible everywhere, and its class readable from the object only."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data import draws, scenes, sprites
from harness.maths import hsic
from harness.maths.cka import cross_hsic, minibatch_cka, self_hsic
from harness.maths.neighbours import classify
from harness.models.build import build, normaliser
from harness.models.layers import named_layers, tapped
from harness.params.load import load_params
from harness.params.profile import Architecture

TRAIN_DIGEST = "8d62c8f99c8f36feb9e46c4dab95b83bd3e05b996db9cea9650158ea21d2a4c0"
CROWD_DIGEST = "6662a2fe6761135c17b40ccca33b959bac5af70529479549b56e90432c5b0255"
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


def load_embedded(**changes) -> dict[str, scenes.Scenes]:
    """The world that the embedded profile measures, as many scenes of it as its k-NN has; changes: to its parameters."""
    profile = load_params(ROOT / "params.yaml").of("embedded")
    sizes = {"train": profile.extract.bank, "validation": profile.extract.queries}
    world = profile.data.world.model_copy(update=changes)
    return {
        split: scenes.compose(sprites.load(profile.data.sprites, split), world, split, np.arange(n))
        for split, n in sizes.items()
    }


@pytest.fixture(scope="module")
def embedded():
    return load_embedded()


def test_class_cannot_be_read_from_the_factors_of_the_embedded_profile(embedded):
    train, validation = embedded["train"], embedded["validation"]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(factors(train), train.label[:, 0])
    answer, truth = probe.predict(factors(validation)), validation.label[:, 0]
    # Answers that know nothing of the truth are right as often as the two frequencies of each class say, which are not
    # all a tenth: the digits are few.
    share = np.stack([np.bincount(x, minlength=10) for x in (answer, truth)]) / len(truth)
    assert abs((answer == truth).mean() - share.prod(0).sum()) < 3 * np.sqrt(0.09 / len(truth))
    # The same model does read what the factors hold: whether the object lies in the upper half.
    upper = [world.centre[:, 0, 1] < 8 for world in (train, validation)]
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(factors(train), upper[0])
    assert reader.score(factors(validation), upper[1]) > 0.99


def raw_neighbours(train: scenes.Scenes, validation: scenes.Scenes) -> tuple[float, float]:
    """20-NN accuracy of the pixels: by Euclidean distance, and by the profile's vote of centred cosines."""
    x, q = (world.image.reshape(len(world.image), -1).astype(np.float32) for world in (train, validation))
    label, truth = train.label[:, 0], validation.label[:, 0]
    plain = KNeighborsClassifier(20, algorithm="brute").fit(x, label).score(q, truth)
    offset = x.mean(0)
    bank, queries = (torch.from_numpy(y - offset) for y in (x, q))
    vote = classify(bank, torch.from_numpy(label), queries, classes=10, k=20, temperature=0.07)
    return plain, (vote.numpy() == truth).mean()


def first_component(world: scenes.Scenes) -> float:
    """Share of the pixels' variance on their first principal component."""
    flat = world.image.reshape(len(world.image), -1).astype(np.float64)
    variances = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    return variances[0] / variances.sum()


def untrained_cka(world: scenes.Scenes, network: Architecture) -> dict[int, float]:
    """Minibatch CKA, by block, of two untrained networks that start as DINO's and as MAE's and MoCo-v3's do."""
    pixels = torch.from_numpy(world.image[:512]).permute(0, 3, 1, 2).float() / 255
    grams = []
    for seed, positions in ((1, "sincos"), (2, "learned")):
        vit = build(network.name, seed=seed, positions=positions, **network.options)
        blocks = {name: module for name, module in named_layers(vit).items() if name.endswith(".block")}
        seen: list[torch.Tensor] = []
        with torch.inference_mode(), tapped(blocks, lambda _, out, seen=seen: seen.append(out.reshape(16, 32, -1))):
            vit.forward_features(normaliser([0.5] * 3, [0.25] * 3)(pixels))
        grams.append(torch.stack([hsic.u_centre(hsic.gram(block)[0]) for block in seen], 1).numpy())
    a, b = grams
    cka = minibatch_cka(cross_hsic(a, b, 32), self_hsic(a, 32), self_hsic(b, 32))
    return dict(enumerate(np.diag(cka)))


def test_similarity_measures_can_tell_on_the_embedded_profile(embedded):
    """What blinds them is one factor that most of the pixels' variance lies on: any network passes it on."""
    network = load_params(ROOT / "params.yaml").of("embedded").architectures["vit"]
    assert first_component(embedded["train"]) < 0.3
    assert untrained_cka(embedded["validation"], network)[11] < 0.7
    negatives = load_embedded(negatives=True, background=(30.0, 45.0), contrast=(90.0, 200.0))
    assert first_component(negatives["train"]) > 0.7
    assert untrained_cka(negatives["validation"], network)[11] > 0.98


def test_raw_pixels_are_poor_on_the_embedded_profile(embedded):
    # And the task can be done at all: twice as well as chance.
    for accuracy in raw_neighbours(embedded["train"], embedded["validation"]):
        assert 0.2 < accuracy <= 0.6


def test_negatives_are_the_same_scenes_in_complementary_colours():
    digits, quiet = sprites.load("digits", "train"), WORLD.model_copy(update={"noise": 0})
    straight, mixed = (
        scenes.compose(digits, quiet.model_copy(update={"negatives": negatives}), "train", np.arange(200))
        for negatives in (False, True)
    )
    turned = mixed.negative
    assert not straight.negative.any()
    assert 0.3 < turned.mean() < 0.7
    np.testing.assert_array_equal(mixed.image[~turned], straight.image[~turned])
    # Halves are rounded up in both.
    assert abs(mixed.image[turned].astype(int) - (255 - straight.image[turned].astype(int))).max() <= 1
    np.testing.assert_allclose(mixed.colour[turned], 255 - straight.colour[turned])
    np.testing.assert_allclose(mixed.background[turned], 255 - straight.background[turned])


def test_the_object_is_always_the_lighter_one():
    world = scenes.compose(sprites.load("digits", "train"), WORLD, "train", np.arange(500))
    gain = world.colour[:, 0].mean(1) - world.background.mean((1, 2))
    # Channels stray by the tint, background and object each by their own.
    assert gain.min() > WORLD.contrast[0] - 1.75 * WORLD.tint
    assert gain.mean() > WORLD.contrast[0]


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
    for levels in ({"background": (140.0, 120.0)}, {"contrast": (0.0, 9.0)}, {"background": (150.0, 200.0)}):
        with pytest.raises(InvalidInput, match="grey levels"):
            scenes.compose(digits, WORLD.model_copy(update=levels), "train", np.arange(2))
    with pytest.raises(InvalidInput, match="scale"):
        scenes.compose(digits, WORLD.model_copy(update={"scale": (0.9, 0.2)}), "train", np.arange(2))
    with pytest.raises(InvalidInput, match="train or validation"):
        sprites.load("digits", "test")
    with pytest.raises(InvalidInput, match="fashion_mnist"):
        sprites.load("digitz", "train")
    with pytest.raises(MissingArtifact, match=r"params\.yaml"):
        sprites.load("mnist", "train", tmp_path)
