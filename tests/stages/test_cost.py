"""What measuring takes, said before it starts, is what it then takes."""

from __future__ import annotations

from typing import Any

import pytest

from harness.__main__ import main
from harness.artifacts import params
from harness.artifacts.closure import ROOT
from harness.artifacts.layout import Layout
from harness.artifacts.tables import TOKENS
from harness.stages import cost, extract, probe, sweep, weights
from harness.stages.place import Place


def test_as_many_images_are_forwarded_as_it_says(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    # Every forward of a stage goes through the patch embedding of a network that timm built.
    from timm.layers import PatchEmbed

    forward = PatchEmbed.forward

    def counted(self: PatchEmbed, x: Any) -> Any:
        seen.append(len(x))
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
    paper = params.load(ROOT / "params.yaml").of("paper")
    each = cost.forwards(paper)
    assert each.bank == 1_281_167 + 50_000
    # 26 features of 768 half floats an image, twice: CLS and GAP after twelve blocks and the final norm.
    assert cost.bank_bytes(paper, 85, Layout(TOKENS, (768,) * 13)) == pytest.approx(each.bank * 26 * 768 * 2, rel=0.001)


def test_it_is_printed_with_a_rate_measured_here(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    first, disk, training = capsys.readouterr().out.splitlines()
    # Three models of 224 images for the bank and two views of 128, and 2 x 2 x 32 for the sweep.
    assert first.startswith("tiny: 3 models, 1,568 forwards, 0 minutes on cpu (vit ")
    assert disk.startswith("disk: 0.0 GB")
    assert training == "beside that, pre-training of taught where it is not done"
