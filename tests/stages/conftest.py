"""A profile so small that every stage runs in a second."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.artifacts.closure import ROOT
from harness.params.load import load_params
from harness.stages import pipeline
from harness.stages.place import Place

TINY: dict[str, Any] = {
    "models": {
        "one": {"family": "random", "architecture": "vit", "weights": {"tiny": {"objective": "random", "seed": 1}}},
        "two": {"family": "random", "architecture": "vit", "weights": {"tiny": {"objective": "random", "seed": 2}}},
        "taught": {
            "family": "rec",
            "architecture": "vit",
            "weights": {
                "tiny": {
                    "objective": "mae",
                    "seed": 0,
                    "epochs": 2,
                    "batch": 32,
                    "base_lr": 0.001,
                    "weight_decay": 0.05,
                    "warmup_epochs": 1,
                    "crop": [0.4, 1.0],
                    "decoder_width": 16,
                    "decoder_depth": 1,
                    "decoder_heads": 2,
                }
            },
        },
    },
    "profiles": {
        "tiny": {
            "name": "tiny",
            "models": ["one", "two", "taught"],
            "references": ["one", "two"],
            "sweep_models": ["one", "two"],
            "data": {"kind": "scenes", "sprites": "digits", "world": {"size": 16}, "train": 128},
            "architectures": {
                "vit": {
                    "name": "vit_tiny_patch16_224",
                    "options": {
                        "img_size": 16,
                        "patch_size": 4,
                        "embed_dim": 16,
                        "depth": 3,
                        "num_heads": 2,
                        "dynamic_img_size": True,
                    },
                }
            },
            "extract": {"images": 64, "minibatch": 16, "bank": 128, "queries": 96, "seed": 0, "batch": 32},
            "knn": {"k": 5, "temperature": 0.07, "probe": 1.0},
            "probe": {
                "images": 128,
                "views": 2,
                "crop": [0.6, 1.0],
                "rates": [50.0, 5.0],
                "decays": [0.0],
                "l1": [0.0, 0.001],
                "warmups": [0],
                "epochs": [1, 2],
                "batch": 32,
                "depths": [2],
                "best": 3,
            },
            "similarity": {"k": 5, "subsets": 4},
            "sweep": {"layers": 3, "minibatches": [8, 16], "images": [16, 32], "subsets": 2, "seed": 0},
            "finetuned": ["one"],
            "finetune": {
                "seed": 0,
                "epochs": 2,
                "batch": 32,
                "base_lr": 0.01,
                "weight_decay": 0.05,
                "warmup_epochs": 1,
                "crop": [0.6, 1.0],
                "every": [1, 2],
                "watched": 32,
            },
        }
    },
}
TINY["profile"] = TINY["profiles"]["tiny"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The tiny profile in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(TINY))
    return Place(load_params(Path("params.yaml")), "tiny")


def copied_pipeline(folder: Path) -> None:
    """dvc.yaml and dvc.lock of the project, all of them, in a folder."""
    for path in pipeline.FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        for one in (path, path.with_suffix(".lock")):
            shutil.copy(ROOT / one, folder / one)
