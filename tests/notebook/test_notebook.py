"""The calls for a notebook: what they give is what the stages write, and what they cannot do they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image

import harness
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.store import read_pairs
from harness.artifacts.tables import CKA, unpack
from harness.data import draws, images
from harness.notebook import Comparison
from harness.params.load import load_params


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """The profile's first validation images, in the order in which its banks have them."""
    data = load_params(ROOT / "params.yaml").of("embedded").data
    return images.load(data, "validation", 256, 0).read(np.arange(256))


@pytest.fixture(scope="module")
def compared(pixels: np.ndarray) -> Comparison:
    a, b = (harness.load_network(model, root=ROOT) for model in ("mae", "moco_v3"))
    return harness.compare(a, b, pixels)


def test_importing_the_package_is_not_importing_torch() -> None:
    code = "import sys, harness; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_a_call_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compares'"):
        harness.compares  # noqa: B018


def test_all_images_of_a_profile_give_what_its_artifact_has() -> None:
    params = load_params(ROOT / "params.yaml")
    size = params.of("embedded").extract
    pixels = images.load(params.of("embedded").data, "validation", size.images, size.seed).read(np.arange(size.images))
    kept = read_pairs(ROOT / "artifacts/embedded/cka/mae.safetensors", CKA).of("moco_v3")
    a, b = (harness.load_network(model, root=ROOT) for model in ("mae", "moco_v3"))
    shuffled = np.empty_like(pixels)
    shuffled[draws.permutation(0, "compare", len(pixels))] = pixels
    found = harness.compare(a, b, shuffled, minibatch=size.minibatch)
    assert (list(found.layers_a), list(found.layers_b)) == (unpack(kept["layers_a"]), unpack(kept["layers_b"]))
    # The artifact keeps half precision.
    np.testing.assert_allclose(found.cka, kept["cka"], atol=1e-3)


def test_a_network_is_like_itself_and_the_table_is_labelled(pixels: np.ndarray) -> None:
    network = harness.load_network("mae", root=ROOT)
    found = harness.compare(network, network, pixels)
    np.testing.assert_allclose(np.diag(found.cka), 1, atol=1e-6)
    assert found.cka.index[0] == "0.norm1"
    assert len(found.cka) == 84
    np.testing.assert_allclose(found.cka, found.cka.T, atol=1e-9)


def test_intervals_are_those_of_the_estimates(compared: Comparison) -> None:
    for a, b in (("0.norm1", "3.block"), ("11.block", "11.block")):
        estimate = compared.estimate(a, b)
        assert estimate.value == pytest.approx(compared.cka.loc[a, b])
        assert estimate.interval() == pytest.approx((compared.low.loc[a, b], compared.high.loc[a, b]))
    assert ((compared.low <= compared.cka) & (compared.cka <= compared.high)).all(axis=None)


def test_the_heat_map_has_the_first_networks_layers_from_top_to_bottom(compared: Comparison) -> None:
    axes = compared.plot()
    np.testing.assert_array_equal(axes.images[0].get_array(), compared.cka)
    assert axes.get_yticklabels()[0].get_text() == compared.layers_a[0]


def test_files_are_what_their_pixels_are(tmp_path: Path, pixels: np.ndarray) -> None:
    for i, image in enumerate(pixels[:64]):
        folder = tmp_path / f"{i % 3}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no image")
    network, other = (harness.load_network(model, root=ROOT) for model in ("mae", "random"))
    for each in (network, other):
        each.pretrained_cfg["crop_pct"] = 1.0  # Files of the input's size are then neither enlarged nor cropped.
    from_files = harness.compare(network, other, tmp_path, minibatch=32)
    # Files are read in the order of their paths, which says which images meet in a minibatch.
    order = [int(path.stem) for path in sorted(tmp_path.glob("*/*.png"))]
    from_array = harness.compare(network, other, pixels[order], minibatch=32)
    np.testing.assert_allclose(from_files.cka, from_array.cka, atol=1e-6)
    assert harness.compare(network, other, pixels[:64], minibatch=32).images != from_files.images


def test_networks_of_other_architectures_are_compared(pixels: np.ndarray) -> None:
    found = harness.compare(harness.load_network("random", root=ROOT), harness.load_network("fcmae", root=ROOT), pixels[:64])
    assert found.cka.shape == (84, 12)
    assert list(found.cka.columns) == [f"{i}.block" for i in range(12)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.zeros((64, 16, 16, 3), np.float32), "uint8"),
        (np.zeros((64, 16, 12, 3), np.uint8), "size, size"),
        (np.zeros((40, 16, 16, 3), np.uint8), "two minibatches"),
        (Path("nowhere"), "a folder of images"),
    ],
)
def test_other_images_are_refused(given: object, expected: str) -> None:
    network = harness.load_network("mae", root=ROOT)
    with pytest.raises(InvalidInput, match=expected):
        harness.compare(network, network, given)


def test_a_broken_file_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    for i, image in enumerate(pixels[:64]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "7.png").write_bytes(b"no image")
    network = harness.load_network("mae", root=ROOT)
    with pytest.raises(InvalidInput, match=r"7\.png"):
        harness.compare(network, network, tmp_path)


def test_a_file_of_more_bits_than_eight_is_refused_as_a_profile_refuses_it(tmp_path: Path, pixels: np.ndarray) -> None:
    for i, image in enumerate(pixels[:64]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    Image.fromarray(pixels[0, :, :, 0].astype(np.uint16) * 257).save(tmp_path / "9.png")
    network = harness.load_network("mae", root=ROOT)
    with pytest.raises(InvalidInput, match="8 bits a channel"):
        harness.compare(network, network, tmp_path)


def test_a_network_that_does_not_say_its_normalisation_is_refused(pixels: np.ndarray) -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, num_classes=0)
    network.pretrained_cfg = {}
    with pytest.raises(InvalidInput, match="mean, std, input_size"):
        harness.compare(network, network, pixels)


def test_an_unknown_name_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"list_models\(pretrained=True\)"):
        harness.compare("vit_of_nobody", "vit_of_nobody", pixels)


def test_a_layer_that_is_none_is_refused(compared: Comparison) -> None:
    with pytest.raises(InvalidInput, match=r"0\.norm1"):
        compared.estimate("12.block", "0.block")


def test_what_a_profile_measured_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    low, high = harness.read("embedded").cka("moco_v3", "mae").same_depth().interval()
    assert low < high


def test_weights_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingArtifact):
        harness.load_network("mae")


def test_the_page_says_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples as they stand there; the last one, which measures a network, is `harness judge`'s own test."""
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    assert "harness.judge(" in blocks[-1]
    code = "\n".join(blocks[:-1]).replace("cka.png", str(tmp_path / "cka.png"))
    assert str(tmp_path) in code
    exec(code, {})
    assert (tmp_path / "cka.png").stat().st_size
