"""The profile of released weights and public photographs from the download to the report, on a small ViT and small files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.layout import Layout
from harness.artifacts.tables import AGREE, BANK, CKA, KNN, PROBE, TYPES, unpack
from harness.data import images
from harness.models.build import build, normaliser
from harness.params.load import load_params
from harness.stages.place import Place
from tests.models.test_released import content

# Each released model's architecture at the profile, and the layout of its file.
METHODS = {
    "moco_v3": ("vit", "moco_v3"),
    "dino": ("vit", "dino"),
    "mae": ("vit", "mae"),
    "msn": ("vit", "msn"),
    "moco_v3_resnet50": ("resnet50", "moco_v3"),
    "dino_resnet50": ("resnet50", "dino"),
    "fcmae": ("convnextv2", "plain"),
}
CLASSES = 12
SMALL: dict[str, dict[str, Any]] = {
    "vit": {
        "name": "vit_tiny_patch16_224",
        "options": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2},
    },
    "resnet50": {"name": "resnet18", "options": {"channels": [8, 8, 16, 16]}},
    "convnextv2": {"name": "convnextv2_atto", "options": {"depths": [2, 2, 1, 1], "dims": [8, 16, 24, 32]}},
}


def network(method: str) -> nn.Module:
    """A network whose weights half precision does not hold."""
    architecture = SMALL[METHODS[method][0]]
    return build(architecture["name"], seed=list(METHODS).index(method), **architecture["options"])


def photographs(folder: Path) -> None:
    """An archive as Imagenette's: a folder for each split, in it one for each class, of JPEGs of several sizes."""
    draw = np.random.default_rng(0)
    with tarfile.open(folder / "photos.tgz", "w:gz") as file:
        for split, count in (("train", 40), ("val", 20)):
            for label in range(CLASSES):
                for i in range(count):
                    pixels = draw.integers(0, 256, (40 + i % 5, 44, 3), np.uint8)
                    # What tells the classes: the share of each colour.
                    pixels //= np.array([1 + label % 3, 1 + label // 3, 2], np.uint8)
                    out = io.BytesIO()
                    Image.fromarray(pixels).save(out, "JPEG")
                    member = tarfile.TarInfo(f"photos/{split}/n{label:02d}/{i}.JPEG")
                    member.size = len(out.getvalue())
                    file.addfile(member, io.BytesIO(out.getvalue()))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server that has all released files and the photographs."""
    folder = tmp_path / "served"
    folder.mkdir()
    for method, (_, layout) in METHODS.items():
        torch.save(content(layout, network(method).state_dict()), folder / f"{method}.pth")
    photographs(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def small(address: str) -> dict[str, Any]:
    """The project's own laptop profile, with other addresses and sizes."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = raw["profiles"]["laptop"]
    profile["data"] |= {"root": "data/photos", "url": f"{address}/photos.tgz", "resize": 36, "size": 32}
    profile["architectures"] = SMALL
    profile["extract"] |= {"images": 64, "minibatch": 16, "bank": 256, "queries": 128, "batch": 32}
    profile["probe"] |= {"images": 256, "rates": [10.0], "decays": [0.0], "l1": [0.0, 1e-3], "batch": 64, "depths": [2]}
    profile["probe"] |= {"epochs": [2, 3], "warmups": [0, 1], "best": 3, "projections": 1}
    profile["similarity"] |= {"subsets": 8}
    profile["sweep"] |= {"layers": 3, "minibatches": [8, 16], "images": [16, 32], "subsets": 2}
    models = {name: raw["models"][name] for name in profile["models"]}
    for name, model in models.items():
        own = model["weights"]["laptop"]
        assert ("objective" in own) == (name not in METHODS)
        if name in METHODS:
            assert (model["architecture"], own.get("layout", "plain")) == METHODS[name]
            own = {"url": f"{address}/{name}.pth", "layout": METHODS[name][1], "licence": own["licence"]}
        model["weights"] = {"laptop": own}
    return {"models": models, "profiles": {"laptop": profile}, "profile": profile}


def run(*stage: str) -> None:
    assert main(list(stage)) == 0, stage


def test_released_weights_are_fetched_measured_and_reported(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("http_proxy", raising=False)
    Path("params.yaml").write_text(yaml.safe_dump(small(address)))
    known = load_params(Path("params.yaml"))
    place = Place(known, "laptop")
    run("fetch")
    run("cost")
    run("check")
    models = known.at("laptop")
    for stage in ("weights", "extract", "knn", "probe"):
        for model in models:
            run(stage, "--model", model)
    for kind in ("summaries", "probes"):
        run("references", "--kind", kind)
    for stage in ("compare", "agree", "invariance"):
        for model in models:
            run(stage, "--model", model)
    for stage in ("pixels", "sweep", "report"):
        run(stage)
    assert place.path("report", ending="").joinpath("overview.png").is_file()

    bank = store.read_arrays(place.path("banks", "mae"), BANK)
    source = network("mae")
    photos = images.load(place.settings.data, "validation", 32, place.settings.extract.seed).read(np.arange(32))
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255
    data = place.settings.data
    with torch.inference_mode():
        tokens = source.forward_features(normaliser(data.mean, data.std)(pixels))
    np.testing.assert_array_equal(bank["validation"][:32, Layout.of(bank).at("cls", -1)], tokens[:, 0].half().numpy())
    # A CNN has its blocks' outputs in common with a ViT.
    across = store.read_pairs(place.path("cka", "fcmae"), CKA).of("mae")
    assert unpack(across["types"]) == ["block"]
    assert across["cka"].shape == (6, 3 * len(TYPES))
    # All methods saw the same images, and are three networks.
    cka = store.read_pairs(place.path("cka", "mae"), CKA).of("dino")["cka"]
    assert cka.shape == (3 * len(TYPES),) * 2
    assert np.isfinite(cka).all()
    assert cka[-1, -1] < 0.999
    vote = store.read_arrays(place.path("knn", "dino"), KNN)
    assert set(np.unique(vote["label"])) == set(range(CLASSES))
    assert store.read_arrays(place.path("probes", "moco_v3"), PROBE)["top"].shape == (128, 10)
    assert store.read_pairs(place.path("agree", "mae"), AGREE).of("moco_v3")["tau"].shape == (2, 128)
