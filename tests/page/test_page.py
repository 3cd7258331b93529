"""The page of the project's own profile: whole, readable by machine and ear, and honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.tables import PROBE
from harness.page.findings import WIDTH
from harness.page.page import _methods, _revision, page
from harness.page.printed import beside
from harness.readings.probes import ProbeAccuracy
from harness.readings.published import load
from harness.stages.place import Place
from harness.verdicts import record
from harness.verdicts.record import Record

VOID = {"meta", "input", "link", "br", "hr", "img", "path", "use", "rect"}


class Parsed(HTMLParser):
    """Tags that are open, ids, and the text and labels that are there."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_tag_is_closed_and_every_id_is_there_once(html: str) -> None:
    parsed = Parsed(html)
    assert parsed.open == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = [a["href"] for a in parsed.of("a") if a["href"] and a["href"].startswith("#")]
    targets = {href[1:] for href in inner} | set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", html))
    assert targets <= set(ids)


def test_it_needs_nothing_else_and_is_small(html: str) -> None:
    # A link to the paper is followed by whoever wants to; nothing is loaded.
    used = re.findall(r"(?:src|href)=\"(?!#|data:)([^\"]+)", html)
    assert used == ["https://arxiv.org/abs/2304.13089"]
    assert len(html.encode()) < 8e6


def test_every_figure_is_drawn_and_says_its_numbers(html: str, place: Place) -> None:
    parsed = Parsed(html)
    # Those of the main findings are as wide as their column.
    labels = [svg["aria-label"] or "" for svg in parsed.of("svg") if svg["width"] != str(WIDTH)]
    assert len(parsed.of("figure")) == len(parsed.of("figcaption")) == 19
    # Of fine-tuning, of images drawn from features and of detection, where there are any.
    absent = [p for p in parsed.of("p") if p.get("class") == "missing"]
    # Heat maps are there by depth and by layer type.
    expected = (15, 0) if place.settings.finetuned else (10, 4)
    drawn = 3 * bool(place.settings.generated) + 2 * bool(place.settings.detected) + bool(place.settings.detected_deeper)
    assert (len(labels), len(absent)) == (expected[0] + drawn, expected[1] + 6 - drawn)
    assert all(svg["role"] == "img" for svg in parsed.of("svg"))
    assert all(re.search(r"\d", label) for label in labels)
    # Text takes the page's colour, dark or light.
    assert "#000000" not in html


def test_every_verdict_is_there_under_its_figure(html: str) -> None:
    known = record.read(ROOT / "artifacts" / "verdicts.json")
    parsed = Parsed(html)
    assert sorted(row["data-state"] or "" for row in parsed.of("tr") if "data-state" in row) == sorted(r.state for r in known)
    text = "".join(parsed.text)
    for one in known:
        assert one.id in text
        assert one.statement in text
    headings = [group["data-heading"] for group in parsed.of("details") if "data-heading" in group]
    assert len(headings) == len(set(headings)) > 10
    # The boxes that filter are of what there is.
    assert {box["value"] for box in parsed.of("input")} == {one.state for one in known}


def test_a_figure_has_the_claims_that_it_decides_beside_it(html: str) -> None:
    known = [one for one in record.read(ROOT / "artifacts" / "verdicts.json") if one.source == "embedded"]
    (beside_figure,) = re.findall(r'<p class="decides">Claims of Fig. 4: (.*?)</p>', html, re.DOTALL)
    told = re.findall(r"<b class=\"\w+\">(\w+)</b> ([^<]+)</span>", unescape(beside_figure))
    expected = [one for one in known if "Fig. 4" in one.where and one.rank != "second"]
    assert sorted(told) == sorted((one.state, one.title) for one in expected)


def test_runs_of_a_method_are_one_row_with_their_mean_and_range(html: str, place: Place) -> None:
    measured = json.loads((ROOT / "artifacts/embedded/report/metrics.json").read_text())["knn"]
    rows = {one.title: one for one in _methods(place, [])}
    runs = [100 * measured[run]["cls"] for run in ("mae", "mae_1", "mae_2")]
    mean, low, high = map(float, re.findall(r"[\d.]+", rows["MAE"].accuracies["cls"]))
    assert (mean, low, high) == pytest.approx((sum(runs) / 3, min(runs), max(runs)), abs=0.06)
    assert rows["MAE"].names == ["mae", "mae_1", "mae_2"]
    assert rows["MAE, fine-tuned"].names == ["mae_ft", "mae_1_ft", "mae_2_ft"]
    # Of one run there is no range.
    assert float(rows["VICReg"].accuracies["cls"]) == pytest.approx(100 * measured["vicreg"]["cls"], abs=0.06)
    assert sum(len(one.names) for one in rows.values()) == len(place.params.at("embedded"))
    text = " ".join("".join(Parsed(html).text).split())
    assert all(one.title in text for one in rows.values())


def test_the_range_of_each_measure_is_a_row(html: str) -> None:
    known = [one for one in record.read(ROOT / "artifacts" / "verdicts.json") if one.source == "embedded"]
    said = " ".join(one.instrument for one in known)
    parts = re.findall(r'aria-label="Ranges of the measures">(.*?)</table>', html, re.DOTALL)
    # Where no training has met its bar, no measure's range is asked for.
    assert len(parts) == (" range " in said)
    rows = re.findall(r'<th scope="row">(\S+)</th><td>([\d-]+|all)</td><td class="number">(-?[\d.]+) ', "".join(parts))
    assert len(rows) == len(set(rows))
    assert not parts or len(rows) > 5
    for name, blocks, value in rows:
        assert f"{name} range {'' if blocks == 'all' else f'over blocks {blocks} '}{value} " in said


def test_the_footer_names_the_revision(html: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert _revision() == ""
    monkeypatch.chdir(ROOT)
    if (ROOT / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{7,} of \d{4}-\d\d-\d\d", _revision())
        assert f"at revision {_revision()}." in html


def test_names_and_reasons_are_text_whatever_is_in_them(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # Figures have no names from outside, and take long.
    monkeypatch.setattr("harness.page.page.all_figures", lambda _: [])
    evil = Record("<b>x</b>/family", "embedded", "NEITHER", "<script>alert(1)</script>", "Kinship", "a & b", "<img src=x>", 0.1)
    record.write(tmp_path / "v.json", [evil])
    html = page(place, [str(tmp_path / "v.json")])
    parsed = Parsed(html)
    assert len(parsed.of("script")) == 1
    assert parsed.of("img") == []
    assert "<script>alert(1)</script>" in "".join(parsed.text)


def test_a_page_of_half_the_artifacts_opens_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("knn", "curves"):
        shutil.copytree(ROOT / "artifacts" / "embedded" / kind, tmp_path / "artifacts" / "embedded" / kind)
    for name in ("params.yaml", "artifacts/embedded/pixels.safetensors"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(["page"]) == 0
    assert capsys.readouterr().out.startswith("artifacts/embedded/index.html: ")
    parsed = Parsed(Path("artifacts/embedded/index.html").read_text())
    assert len(parsed.of("svg")) == 2
    text = "".join(parsed.text)
    assert text.count("next: ") == 18
    assert "pytest claims --verdicts artifacts/verdicts.json" in text
    assert "run dvc repro" in text


def test_printed_numbers_stand_beside_those_of_the_profiles_own_models(html: str, place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        rows, further = beside(place)
    told = {(row.where, row.what): row for row in rows}
    # Three feature sets of three models, and two pairs; and what detectors there are.
    assert sum(not row.where.endswith("AP") for row in rows) == 11
    assert any(row.where.endswith("AP") for row in rows) == bool(place.settings.detected)
    assert len(told) == len(rows) == len(load(ROOT / "claims" / "published.toml").numbers) - further
    accuracy = ProbeAccuracy.from_arrays(store.read_arrays(ROOT / "artifacts/embedded/probes/mae.safetensors", PROBE), "mae")
    row = told["Table 1, top-1 %", "MAE, all layers"]
    assert (row.printed, row.ours.split()[0]) == ("70.12 ± 0.04 over 5", f"{accuracy.estimate('all').value:.3g}")
    assert told["Appendix D, F1", "DINO and MoCo-v3"].printed == "0.93"
    text = "".join(Parsed(html).text)
    assert all(row.ours in text and row.what in text for row in rows)


def test_a_printed_number_without_its_measurement_is_not_made_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert beside(place) == ([], 0)
    (tmp_path / "claims").mkdir()
    shutil.copy(ROOT / "claims" / "published.toml", tmp_path / "claims")
    rows, _ = beside(place)
    assert {row.ours for row in rows} == {"not measured"}


def test_a_profile_without_two_models_to_compare_has_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    alone = place.settings.model_copy(update={"references": ("supervised", "random")})
    html = page(
        Place(place.params.model_copy(update={"profiles": {"embedded": alone}}), "embedded"), ["artifacts/verdicts.json"]
    )
    assert "no two models to compare" in html
