"""The page: everything that a profile measured and what was decided from it, in one file that needs nothing else."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import jinja2
from pydantic import BaseModel

from harness.artifacts import files
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.tables import TOKENS
from harness.page.accuracy import final_accuracies
from harness.page.figures import all_figures
from harness.page.findings import caveat, findings, headline
from harness.page.printed import beside
from harness.params.models import Embeddings, Released, start_of
from harness.stages.place import Place
from harness.verdicts import record, show, table
from harness.verdicts.diff import VERDICTS
from harness.verdicts.record import Record

_TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True)
class Model:
    """A row of the models' table. accuracies: 20-NN of each final token and of the linear probe, in percent; "-" where none."""

    name: str
    family: str
    weights: str
    accuracies: dict[str, str]
    kin: str


def run(place: Place, verdicts: Sequence[str] = (), *, say: Callable[[str], None] = print) -> None:
    """Write artifacts/<profile>/index.html from the profile's artifacts and verdict files, by default that of `make verify`.

    What is missing is said in its place. Raises InvalidInput for a broken artifact or verdict file.
    """
    path = place.path("index", ending=".html")
    files.write_bytes(path, page(place, verdicts or [VERDICTS]).encode())
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def page(place: Place, verdicts: Sequence[str]) -> str:
    """The whole page as HTML."""
    records, missing = _records(place, verdicts)
    claims = sorted(records, key=table.order)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["row"] = show.row
    printed, unmeasured = beside(place)
    main = findings(records, place.profile)
    template = environment.from_string(_TEMPLATE.read_text())
    return template.render(
        profile=place.profile,
        findings=main,
        headline=headline(main),
        caveat=caveat(place),
        groups=[(heading, list(group)) for heading, group in groupby(claims, lambda one: table.heading(one.where))],
        counts=[(state, count) for state in show.STATES if (count := Counter(one.state for one in claims)[state])],
        ranges=table.ranges(claims),
        figures=all_figures(place),
        printed=printed,
        unmeasured=unmeasured,
        models=[_model(place, name, records) for name in place.params.at(place.profile)],
        errata=tomllib.loads(Path("claims/errata.toml").read_text())["erratum"] if Path("claims/errata.toml").is_file() else [],
        missing=missing,
        read=sorted({(path, sha) for one in records for path, sha in one.provenance.get("artifacts", {}).items()}),
    )


def _records(place: Place, verdicts: Sequence[str]) -> tuple[list[Record], str]:
    """The verdicts about this profile and about the printed numbers; or none, and how to get them."""
    try:
        known = [one for path in verdicts for one in record.read(Path(path))]
    except MissingArtifact as error:
        return [], str(error)
    kept = [one for one in known if one.source in (place.profile, "published")]
    step = f"pytest claims --source {place.profile} --verdicts {VERDICTS}"
    return kept, "" if kept else f"{', '.join(verdicts)}: no verdicts about {place.profile}\n  next: {step}"


def _model(place: Place, name: str, records: Sequence[Record]) -> Model:
    entry, weights = place.params.model(name), place.params.weights(name, place.profile)
    told = f"embeddings, {weights.features}" if isinstance(weights, Embeddings) else _recipe(weights)
    if isinstance(weights, Released):
        told = weights.url or weights.file
    family = f"{entry.family or 'none'}{f', another run of {entry.replicate_of}' if entry.replicate_of else ''}"
    if name != start_of(name):
        family, told = f"{family}, fine-tuned", f"{start_of(name)}, then {_recipe(place.settings.finetune)}"
    kin = next((one.state for one in records if one.id == f"{name}/family"), "-")
    return Model(name, family, told, _accuracies(place, name), kin)


def _recipe(recipe: BaseModel | None) -> str:
    known = recipe.model_dump() if recipe else {}
    return ", ".join(f"{key} {known[key]}" for key in ("objective", "epochs", "seed") if key in known)


def _accuracies(place: Place, name: str) -> dict[str, str]:
    try:
        known = final_accuracies(place, name)
    except MissingArtifact:
        return dict.fromkeys((*TOKENS, "probe"), "not measured")
    return dict.fromkeys(TOKENS, "-") | {key: f"{accuracy:.1f}" for key, accuracy in known.items()}
