"""What measuring takes, said before it starts, is what it then takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.__main__ import main
from harness.artifacts.closure import ROOT
from harness.artifacts.layout import Layout
from harness.artifacts.tables import TOKENS
from harness.models.build import build
from harness.params.load import load_params
from harness.stages import cost, detect, extract, knn, probe, sweep, weights
from harness.stages.place import Place
from harness.training import probes as training


def test_as_many_images_are_forwarded_as_it_says(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    # Every forward of a stage goes through the patch embedding of a network that timm built.
    from timm.layers import PatchEmbed

    forward = PatchEmbed.forward

    def counted(self: PatchEmbed, x: Any) -> Any:
        # One blank image goes before the others, to see which layers are called.
        seen.append(len(x) if x.any() else 0)
        return forward(self, x)

    for name in ("one", "two"):
        weights.run(tiny, name)
    monkeypatch.setattr(PatchEmbed, "forward", counted)
    expected = cost.forwards(tiny.settings)
    extract.run(tiny, "one")
    assert sum(seen) == expected.bank
    seen.clear()
    probe.run(tiny, "one")
    assert sum(seen) == expected.views
    seen.clear()
    sweep.run(tiny)
    assert sum(seen) == expected.sweep
    assert expected.grams == 64


def test_the_disk_that_it_says_is_what_a_bank_takes(tiny: Place) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    taken = tiny.path("banks", "one").stat().st_size
    # Beside the arrays there are the header and the layers' names.
    assert 0 < taken - cost.bank_bytes(tiny.settings, 22, Layout(TOKENS, (16,) * 4)) < 5000


def test_the_paper_profile_is_counted(tiny: Place) -> None:
    paper = load_params(ROOT / "params.yaml").of("paper")
    each = cost.forwards(paper)
    assert each.bank == 1_281_167 + 50_000
    # 26 features of 768 half floats an image, twice: CLS and GAP after twelve blocks and the final norm.
    assert cost.bank_bytes(paper, 85, Layout(TOKENS, (768,) * 13)) == pytest.approx(each.bank * 26 * 768 * 2, rel=0.001)


def test_products_are_those_that_are_computed(tiny: Place) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    layout = Layout(TOKENS, (16,) * 4)
    with FlopCounterMode(display=False) as counted:
        knn.run(tiny, "one")
    # And those by the ten logits of its linear probe.
    assert counted.get_total_flops() == cost.knn_operations(tiny.settings, layout) + 2 * 128 * 96 * 10


def test_products_of_probes_are_those_of_training_them(tiny: Place) -> None:
    """One feature set of each kind by itself, in training mode."""
    # Of each length as many among the best as among all.
    chosen = tiny.settings.probe.model_copy(update={"best": 4})
    settings = tiny.settings.model_copy(update={"probe": chosen})
    table = training.grid(chosen.rates, chosen.decays, chosen.l1, chosen.warmups, chosen.epochs)
    layout, total = Layout(TOKENS, (16,) * 4), 0
    labels = torch.arange(128) % 10
    kept = 128 - round(chosen.holdout * 128)
    best = table[:4]
    for one in probe.feature_sets(layout, chosen.depths, chosen.projections):
        x = torch.randn(128, 16 if one.projection is not None else 16 * len(one.layers))
        with FlopCounterMode(display=False) as counted:
            for n, tried in ((kept, table), (128, best)):
                training.fit(lambda _, x=x[:n]: x, labels[:n], 10, tried, batch=chosen.batch, depth=one.depth)
        total += counted.get_total_flops()
    assert cost.probe_operations(settings, layout, 10) == total


def test_the_memory_that_it_says_is_that_of_the_features(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    kept, floats, widest = {}, [], []

    def shared_out(sets: Any, row: Any, **options: Any) -> Any:
        kept.update(row.keywords["seen"])
        for one in sets:
            floats.clear()
            row(one)
            widest.append(sum(floats))
        raise KeyboardInterrupt

    joined = Layout.joined
    monkeypatch.setattr(probe, "shared_out", shared_out)
    monkeypatch.setattr(Layout, "joined", lambda *a: [x := joined(*a), floats.append(x.nbytes)][0])
    with pytest.raises(KeyboardInterrupt):
        probe.run(tiny, "one")
    # Training images that a projection is made from are joined once more, and not kept.
    once_more = 128 * 3 * 16 * 4
    expected = sum(x.nbytes for x in kept.values()) + max(widest) - once_more
    assert cost.probe_memory(tiny.settings, Layout(TOKENS, (16,) * 4)) == expected


def test_it_is_printed_with_a_rate_measured_here(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    first, disk, memory, products, training = capsys.readouterr().out.splitlines()
    # Three models and one of them fine-tuned, of 224 images for the bank, two views of 128 and nine changes of
    # 64, and 2 x 2 x 32 for the sweep.
    assert first.startswith("tiny: 4 models, 4,352 forwards, 0 minutes on cpu (vit ")
    assert disk.startswith("disk: 0.0 GB")
    assert memory == "memory: up to 0.0 GB, of the features that probes read"
    assert re.fullmatch(r"products: k-NN 0 minutes, probes 0 minutes, at least, at [\d.e-]+ TFLOP/s", products)
    assert training == "beside that, training of taught, one_ft where it is not done"


def test_detectors_are_counted_at_a_rate_measured_here(capsys: pytest.CaptureFixture[str]) -> None:
    known = load_params(ROOT / "params.yaml")
    assert list(cost.detection(Place(known, "laptop"), "cpu")) == []
    settings = known.of("embedded").detection
    assert settings is not None
    small = settings.model_copy(update={"train": 64, "epochs": 3, "batch": 4, "channels": 8})
    update = {"detected": ("moco_v3", "mae"), "detected_deeper": (), "detected_by_block": (), "detected_end_to_end": ("mae",)}
    profile = known.of("embedded").model_copy(update={**update, "detection": small})
    found = list(cost.detection(Place(known.model_copy(update={"profiles": {"embedded": profile}}), "embedded"), "cpu"))
    assert [line.split(":")[0] for line in found] == ["detection, final", "detection, end-to-end"]
    assert "2 x 192 images" in found[0]
    assert "1 x 192 images" in found[1]
    assert all(float(re.findall(r"at ([\d.]+) images/s", line)[0]) > 0 for line in found)


def test_diffusion_models_are_counted_at_a_rate_measured_here() -> None:
    known = load_params(ROOT / "params.yaml")
    assert list(cost.generation(Place(known, "paper"), "cpu")) == []
    for name, changes in (("embedded", {"width": 16}), ("paper", {"side": 8, "width": 8, "depth": 2, "batch": 4})):
        settings = known.of(name).generation
        assert settings is not None
        small = settings.model_copy(update={"steps": 30, **changes})
        update = {"generated": ("cls",), "sampled": ("mae", "moco_v3"), "generation": small}
        own = known.model_copy(update={"profiles": {name: known.of(name).model_copy(update=update)}})
        (line,) = cost.generation(Place(own, name), "cpu")
        assert line.startswith(f"generation: 1 x {30 * small.batch:,} images through a diffusion model, 0 minutes, at ")
        assert float(re.findall(r"at ([\d.]+) images/s", line)[0]) > 0


def test_a_detector_whose_features_do_not_fit_into_memory_forwards_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_params(ROOT / "params.yaml").of("embedded").detection
    assert settings is not None
    seen: list[int] = []
    tokens = detect.patch_tokens

    def counted(*given: Any, **more: Any) -> Any:
        seen.append(len(given[2]))
        return tokens(*given, **more)

    monkeypatch.setattr(detect, "patch_tokens", counted)
    architecture = load_params(ROOT / "params.yaml").of("embedded").architectures["vit"]
    small = settings.model_copy(update={"batch": 4, "channels": 8})
    for most, forwarded in ((detect.CACHED, [4]), (0, [4, 4])):
        monkeypatch.setattr(detect, "CACHED", most)
        seen.clear()
        cost.detector_seconds(small, build(architecture.name, **architecture.options), "final", "cpu")
        assert seen == forwarded
