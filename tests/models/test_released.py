"""Released weights: each layout gives the network that was saved, and everything else is refused without running it."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.models import released
from harness.models.build import build
from harness.params.load import tuples
from harness.params.models import Released

LAYOUTS = ("plain", "mae", "moco_v3", "dino", "msn")
Tensors = dict[str, Tensor]


def network(seed: int, **options: Any) -> nn.Module:
    small = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return build("vit_tiny_patch16_224", seed=seed, **(small | options))


SOURCE = network(1).state_dict()
N = len(SOURCE)
OTHER = network(2).state_dict()


def named(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def content(layout: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """A file as the authors of each method release it, with what else lies in it; another network where there are two."""
    head: Tensors = {"head.0.weight": torch.ones(3, 16), "head.1.running_mean": torch.ones(3)}
    parts: dict[str, Any]
    match layout:
        case "mae":
            return {"model": tensors}
        case "moco_v3":
            parts = named("module.base_encoder.", tensors | head) | named("module.momentum_encoder.", OTHER | head)
            parts["module.predictor.0.weight"] = torch.ones(3, 3)
            return {
                "epoch": 300,
                "arch": "vit_base",
                "state_dict": parts,
                "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            }
        case "msn":
            head = {"fc.fc1.weight": torch.ones(3, 16)}
            parts = {"target_encoder": tensors, "encoder": OTHER}
            return {"epoch": 600, **{key: named("module.", part | head) for key, part in parts.items()}}
        case _:
            return dict(tensors)


def write(path: Path, value: Any, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def described(path: Path, layout: str) -> Released:
    return Released.model_validate(
        {"file": str(path), "layout": layout, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    )


def refusal(path: Path, layout: str = "plain", told: Released | None = None) -> str:
    """The message; the network is left as it was."""
    target = network(3)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(InvalidInput) as caught:
        released.load(told or described(path, layout), target)
    assert caught.value.exit_code == 12
    assert str(path) in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    return str(caught.value)


@torch.inference_mode()
def outputs(of: nn.Module) -> Tensor:
    result: Tensor = of(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    return result


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_released_file_gives_the_network_that_was_saved(tmp_path: Path, layout: str, legacy: bool) -> None:
    path = write(tmp_path / "weights.pth.tar", content(layout, SOURCE), legacy=legacy)
    target = network(3)
    assert not torch.equal(outputs(target), outputs(network(1)))
    released.load(described(path, layout), target)
    assert torch.equal(outputs(target), outputs(network(1)))


@pytest.mark.parametrize("layout", ["plain", "dino"])
def test_flat_layouts_may_be_safetensors(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(SOURCE, path)
    target = network(3)
    released.load(described(path, layout), target)
    assert torch.equal(outputs(target), outputs(network(1)))


def test_a_resnet_is_loaded_without_the_projector_that_stands_for_its_classifier(tmp_path: Path) -> None:
    source, target = (build("resnet10t", seed=seed) for seed in (1, 2))
    parts = named(
        "module.base_encoder.", source.state_dict() | {"fc.0.weight": torch.ones(3, 3), "fc.1.running_mean": torch.ones(3)}
    )
    path = write(tmp_path / "r-50.pth.tar", {"state_dict": parts})
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.equal(target(x), source(x))
        released.load(described(path, "moco_v3"), target)
        assert torch.equal(target(x), source(x))


def test_half_precision_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", {name: tensor.half() for name, tensor in SOURCE.items()})
    target = network(3)
    released.load(described(path, "plain"), target)
    assert all(torch.equal(tensor, SOURCE[name].half().float()) for name, tensor in target.state_dict().items())


# A released backbone of DINO is plain.
OTHERS = [(a, b) for a in LAYOUTS for b in LAYOUTS if a != b and {a, b} != {"plain", "dino"}]


@pytest.mark.parametrize(("layout", "told"), OTHERS)
def test_another_layout_is_refused(tmp_path: Path, layout: str, told: str) -> None:
    path = write(tmp_path / "w.pth", content(layout, SOURCE))
    message = refusal(path, told)
    assert f"0 of {N} tensors" in message if told in ("plain", "dino") else f"layout {told}" in message


def test_a_layout_of_dictionaries_cannot_be_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(named("model.", SOURCE), path)
    assert "a dictionary with 'model'" in refusal(path, "mae")


CHANGES: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "missing": (lambda t: {k: v for k, v in t.items() if k != "norm.bias"}, f"{N - 1} of {N} tensors; .*['norm.bias']"),
    "shape": (lambda t: t | {"cls_token": torch.zeros(1, 1, 17)}, f"{N - 1} of {N} tensors; .*['cls_token']"),
    "transposed": (
        lambda t: t | {"blocks.0.mlp.fc1.weight": t["blocks.0.mlp.fc1.weight"].T},
        f"{N - 1} of {N} tensors; .*['blocks.0.mlp.fc1.weight']",
    ),
    "positions of larger images": (
        lambda t: t | {"pos_embed": torch.zeros(1, 37, 16)},
        f"{N - 1} of {N} tensors; .*['pos_embed']",
    ),
    "integers": (lambda t: t | {"norm.bias": torch.zeros(16, dtype=torch.int64)}, f"{N - 1} of {N} tensors; .*['norm.bias']"),
    "no tensor": (lambda t: t | {"norm.bias": [0.0] * 16}, f"{N - 1} of {N} tensors; .*['norm.bias']"),
    "more": (lambda t: t | {"fc_norm.weight": torch.ones(16)}, f"{N} of {N} tensors; .*unknown ['fc_norm.weight']"),
    "a block more": (
        lambda t: t | named("blocks.2.", {f"{i}": torch.ones(1) for i in range(5)}),
        f"{N} of {N} tensors; .*and more",
    ),
    "other names": (lambda t: named("backbone.", t), f"0 of {N} tensors"),
    "empty": (lambda t: {}, f"0 of {N} tensors"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_backbone_that_is_not_exactly_the_networks_is_refused(tmp_path: Path, change: str, layout: str) -> None:
    apply, expected = CHANGES[change]
    message = refusal(write(tmp_path / "w.pth", content(layout, apply(SOURCE))), layout)
    before, _, after = expected.partition(".*")
    assert before in message
    assert after in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_look_alike_that_holds_a_head_only_is_refused(tmp_path: Path, layout: str) -> None:
    head = {"head.weight": torch.ones(10, 16), "head.bias": torch.ones(10)}
    assert f"0 of {N} tensors" in refusal(write(tmp_path / "w.pth", content(layout, head)), layout)


def test_a_network_of_another_architecture_is_refused(tmp_path: Path) -> None:
    deeper = network(1, depth=3).state_dict()
    path = write(tmp_path / "w.pth", deeper)
    assert f"{N} of {N} tensors" in refusal(path)
    with pytest.raises(InvalidInput, match=f"{N} of {len(deeper)} tensors"):
        released.load(described(write(path, SOURCE), "plain"), network(3, depth=3))


@pytest.mark.parametrize("value", [[SOURCE], torch.ones(3), 7, None, "weights", {1: torch.ones(3), None: 2}])
def test_what_is_no_dictionary_of_named_tensors_is_refused(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "w.pth", value)
    for layout in LAYOUTS:
        assert "next:" in refusal(path, layout) or "expected:" in refusal(path, layout)


@pytest.mark.parametrize("value", [[], None, torch.ones(3)])
def test_a_layouts_key_that_holds_no_dictionary_is_refused(tmp_path: Path, value: Any) -> None:
    assert "named tensors" in refusal(write(tmp_path / "w.pth", {"model": value}), "mae")


def test_a_file_with_another_sha_or_none_told_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "w.pth", SOURCE)
    right = described(path, "plain")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(torch, "load", never)
    other = right.model_copy(update={"sha256": "0" * 64})
    assert f"seen: {right.sha256}, but params.yaml has {'0' * 64}" in refusal(path, told=other)
    assert f"seen: {right.sha256}, but params.yaml names none" in refusal(path, told=right.model_copy(update={"sha256": ""}))
    path.write_bytes(path.read_bytes()[:-1])
    assert "sha256" in refusal(path, told=right)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_even_if_its_sha_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    save_file(SOURCE, path) if kind == "safetensors" else write(path, SOURCE, legacy=kind == "legacy")
    whole = path.read_bytes()
    drawn = random.Random(0)
    for end in [0, 1, 8, 100, *(drawn.randrange(len(whole)) for _ in range(20)), len(whole) - 1]:
        path.write_bytes(whole[:end])
        assert "a whole file that holds only tensors" in refusal(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_random_bytes_in_a_file_are_refused_or_read_and_never_another_error(tmp_path: Path, legacy: bool) -> None:
    small = {f"{i}": torch.ones(1) for i in range(3)}
    path = write(tmp_path / "w.pth", small, legacy=legacy)
    whole, drawn = path.read_bytes(), random.Random(1)
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(drawn.randrange(1, 4)):
            changed[drawn.randrange(min(len(changed), 600))] = drawn.randrange(256)
        path.write_bytes(changed)
        refusal(path)


class Hostile:
    """Runs a command when it is unpickled in the ordinary way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hostile_file_is_refused_by_what_it_would_call_and_nothing_is_executed(
    tmp_path: Path, layout: str, kind: str
) -> None:
    mark, path = tmp_path / "executed", tmp_path / "w.pth"
    value = content(layout, SOURCE) | {"args": Hostile(mark)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"args": Hostile(mark)}, protocol=2))
    else:
        write(path, value, legacy=kind == "legacy")
    assert "posix.system" in refusal(path, layout) or kind == "pickle"
    assert not mark.exists()
    if kind == "pickle":
        # The trap does work.
        pickle.loads(path.read_bytes())
        assert mark.exists()


BESIDE: dict[str, tuple[str, Tensors, str]] = {
    "a classifier": ("plain", {"head.weight": torch.ones(10, 16), "head.bias": torch.ones(10)}, "head.bias, head.weight"),
    "MAE's decoder": (
        "mae",
        {"mask_token": torch.ones(1, 1, 8), "decoder_pos_embed": torch.ones(1, 17, 8), "decoder_blocks.0.a": torch.ones(3)},
        "decoder_blocks.0.a, decoder_pos_embed, mask_token",
    ),
    "a projector": ("moco_v3", {"head.3.weight": torch.ones(3, 3)}, "head.*"),
    "a mask token": ("plain", {"mask_token": torch.ones(1, 16)}, "mask_token"),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_no_part_of_a_backbone_is_left_out_in_one_line(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, beside, told = BESIDE[kind]
    path = write(tmp_path / "w.pth", content(layout, SOURCE | beside))
    target = network(3)
    released.load(described(path, layout), target)
    assert torch.equal(outputs(target), outputs(network(1)))
    assert capsys.readouterr().err == f"{path}: left out, as no part of the backbone: {told}\n"


@pytest.mark.parametrize(("name", "classifier"), [("resnet10t", "fc"), ("convnext_atto", "head.fc")])
def test_the_classifier_of_a_convolutional_network_is_left_out_by_timms_name_of_it(
    tmp_path: Path, name: str, classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, target = timm.create_model(name, num_classes=7), build(name, seed=2)
    path = write(tmp_path / "w.pth", whole.state_dict())
    released.load(described(path, "plain"), target)
    assert all(torch.equal(tensor, whole.state_dict()[key]) for key, tensor in target.state_dict().items())
    assert f"{classifier}.bias, {classifier}.weight" in capsys.readouterr().err


def test_a_classifier_without_its_backbone_is_refused(tmp_path: Path) -> None:
    short = {name: tensor for name, tensor in SOURCE.items() if name != "cls_token"}
    assert f"{N - 1} of {N}" in refusal(write(tmp_path / "w.pth", short | {"head.weight": torch.ones(10, 16)}))


# Files of training scripts, and what params.yaml must say of each.
WRAPPED: dict[str, tuple[Any, list[str]]] = {
    "DINO": (
        {"teacher": named("backbone.", SOURCE), "student": named("module.backbone.", OTHER), "epoch": 3},
        ["key: teacher, prefix: backbone.", "key: student, prefix: module.backbone."],
    ),
    "DataParallel": (named("module.", SOURCE), ["prefix: module."]),
    "compiled": (named("_orig_mod.", SOURCE), ["prefix: _orig_mod."]),
    "Lightning": ({"state_dict": named("model.", SOURCE), "callbacks": {}}, ["key: state_dict, prefix: model."]),
    "timm": ({"state_dict": SOURCE, "state_dict_ema": OTHER}, ["key: state_dict", "key: state_dict_ema"]),
    "nested": ({"model": {"ema": SOURCE}}, ["key: ['model', 'ema']"]),
    "MAE": ({"model": SOURCE}, ["layout: mae"]),
    "MoCo-v3": (content("moco_v3", SOURCE), ["layout: moco_v3", "key: state_dict, prefix: module.momentum_encoder."]),
    "MSN": (content("msn", SOURCE), ["layout: msn", "key: encoder, prefix: module."]),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_backbone_is_refused_with_every_place_where_it_lies_and_loaded_from_the_one_that_is_said(
    tmp_path: Path, kind: str
) -> None:
    value, ways = WRAPPED[kind]
    path = write(tmp_path / "w.pth", value)
    message = refusal(path)
    for way in ways:
        assert f"fits {N} of {N}: {way}" in message
    assert message.count(" fits ") == len(ways)
    assert ("choose one of these networks" in message) == (len(ways) > 1)
    for way, source in zip(ways, (SOURCE, OTHER), strict=False):
        told = described(path, "plain").model_dump() | tuples(yaml.safe_load(f"{{{way}}}"))
        target = network(3)
        released.load(Released.model_validate(told), target)
        assert all(torch.equal(tensor, source[name]) for name, tensor in target.state_dict().items())


def test_a_key_that_is_not_there_is_refused_with_the_one_that_is(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", {"state_dict": SOURCE})
    told = Released.model_validate(described(path, "plain").model_dump() | {"key": "model"})
    message = refusal(path, told=told)
    assert "a dictionary with 'model'" in message
    assert "key: state_dict" in message


def test_a_key_beside_a_layout_is_refused() -> None:
    with pytest.raises(ValidationError, match="in the place of a layout"):
        Released.model_validate({"file": "w.pth", "layout": "mae", "key": "model"})


@pytest.mark.parametrize("legacy", [False, True])
def test_arguments_beside_the_weights_are_passed_over(tmp_path: Path, legacy: bool) -> None:
    arguments = argparse.Namespace(lr=0.1, model="mae_vit_base_patch16", betas=(0.9, 0.95))
    path = write(tmp_path / "w.pth", content("mae", SOURCE) | {"args": arguments}, legacy=legacy)
    target = network(3)
    released.load(described(path, "mae"), target)
    assert all(torch.equal(tensor, SOURCE[name]) for name, tensor in target.state_dict().items())


def test_arguments_hide_no_code_and_no_other_class(tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "w.pth"
    write(path, content("mae", SOURCE) | {"args": argparse.Namespace(lr=Hostile(mark))})
    assert "posix.system" in refusal(path, "mae")
    assert not mark.exists()
    write(path, content("mae", SOURCE) | {"args": Path("lr")})
    message = refusal(path, "mae")
    assert "pathlib" in message
    assert "save the tensors alone" in message


@pytest.mark.parametrize("name", ["nothing.pth", "."])
def test_a_file_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    told = Released.model_validate({"file": str(tmp_path / name), "layout": "mae", "sha256": "0" * 64})
    with pytest.raises(MissingArtifact, match="download the mae weights") as caught:
        released.load(told, network(3))
    assert caught.value.exit_code == 13
