"""Colours, shades, dashes and names of models in figures."""

from __future__ import annotations

from harness.page.styles import SHADES, ordered_cka, style, styles
from harness.stages.place import Place


def test_a_family_has_a_colour_a_method_a_shade_and_an_architecture_a_dash(place: Place) -> None:
    known = {one.model: one for one in styles(place)}
    first = {name: one for name, one in known.items() if one.label}
    drawn = [(one.colour, one.line) for one in first.values()]
    assert len(set(drawn)) == len(drawn)
    for name, one in first.items():
        assert one.colour in SHADES[place.params.model(name).family]
    assert known["moco_v3"].colour == known["moco_v3_resnet50"].colour
    assert known["moco_v3"].line != known["moco_v3_resnet50"].line
    assert known["moco_v3"].colour != known["dino"].colour != known["dino_nomc"].colour
    assert all(len(set(shades)) == len(shades) for shades in SHADES.values())


def test_another_run_is_thin_and_not_named(place: Place) -> None:
    one, another = style(place, "mae"), style(place, "mae_1")
    assert (another.colour, another.line) == (one.colour, one.line)
    assert another.width < one.width
    assert (one.label, another.label) == ("MAE", None)
    assert style(place, "mae_ft").colour == one.colour


def test_models_are_called_by_their_titles(place: Place) -> None:
    title = place.params.title
    told = [title(name) for name in ("moco_v3", "moco_v3_2", "mae_ft", "mae_1_ft")]
    assert told == ["MoCo-v3", "MoCo-v3, run 3", "MAE, fine-tuned", "MAE, run 2, fine-tuned"]
    assert len({title(name) for name in place.params.at("embedded")}) == len(place.params.at("embedded"))


def test_layers_are_ordered_by_depth_or_by_type(place: Place, in_project: None) -> None:
    by_depth, (rows, columns) = ordered_cka(place, "mae", "moco_v3", by_type=False)
    by_type, (rows_by_type, _) = ordered_cka(place, "mae", "moco_v3", by_type=True)
    assert rows[:8] == ["0.norm1", *rows[1:6], "0.block", "1.norm1"]
    assert rows_by_type[:3] == ["0.norm1", "1.norm1", "2.norm1"]
    assert (
        by_depth[rows.index("3.block"), columns.index("5.norm2")]
        == by_type[rows_by_type.index("3.block"), rows_by_type.index("5.norm2")]
    )
    turned, (_, rows_of_turned) = ordered_cka(place, "moco_v3", "mae", by_type=False)
    assert rows_of_turned == rows
    assert (by_depth == turned.T).all()
