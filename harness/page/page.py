"""The page: everything that a profile measured and what was decided from it, in one file that needs nothing else."""

from __future__ import annotations

import subprocess
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
from harness.page.accuracy import final_accuracies, pixel_accuracy
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
class Method:
    """A row of the models' table: a method with all its runs at the profile.

    accuracies: 20-NN of each final token and of the linear probe, in percent, as mean and range over the runs; "-" where none.
    """

    title: str
    names: list[str]
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
    groups = [(heading, list(group)) for heading, group in groupby(claims, lambda one: table.heading(one.where))]
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
        groups=[(heading, _counts(group), group) for heading, group in groups],
        decided=_decided(records, place.profile),
        counts=_counts(claims),
        ranges=table.ranges(claims),
        figures=all_figures(place),
        printed=printed,
        unmeasured=unmeasured,
        methods=(methods := _methods(place, records)),
        kin=any(one.kin for one in methods),
        pixels=_pixels(place),
        errata=tomllib.loads(Path("claims/errata.toml").read_text())["erratum"] if Path("claims/errata.toml").is_file() else [],
        missing=missing,
        revision=_revision(),
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


def _counts(records: Sequence[Record]) -> list[tuple[str, int]]:
    found = Counter(one.state for one in records)
    return [(state, found[state]) for state in show.STATES if found[state]]


def _decided(records: Sequence[Record], source: str) -> dict[str, list[Record]]:
    """The claims that a figure or table of the paper decides, by its name, second measures left out."""
    found: dict[str, list[Record]] = {}
    for one in sorted(records, key=table.order):
        if one.source == source and one.rank != "second":
            found.setdefault(table.heading(one.where).partition(" (")[0], []).append(one)
    return found


def _methods(place: Place, records: Sequence[Record]) -> list[Method]:
    """Every model of the profile, runs of one method together, in the profile's order."""
    runs: dict[str, list[str]] = {}
    for name in place.params.at(place.profile):
        first = place.params.model(name).replicate_of or start_of(name)
        runs.setdefault(first + name.removeprefix(start_of(name)), []).append(name)
    return [_method(place, names, records) for names in runs.values()]


def _method(place: Place, names: list[str], records: Sequence[Record]) -> Method:
    first, params = names[0], place.params
    weights = params.weights(first, place.profile)
    told = f"embeddings, {weights.features}" if isinstance(weights, Embeddings) else _recipe(weights)
    if isinstance(weights, Released):
        told = weights.url or weights.file
    family = params.model(first).family or "none"
    if first != start_of(first):
        told = f"{params.title(start_of(first))}, then {_recipe(place.settings.finetune)}"
    states = [one.state for name in names for one in records if one.id == f"{name}/family"]
    return Method(params.title(first), names, family, told, _accuracies(place, names), ", ".join(states))


def _revision() -> str:
    """The commit that the page was made at, and its date; empty outside of a git repository."""
    command = ["git", "log", "-1", "--format=%h of %cs"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _recipe(recipe: BaseModel | None) -> str:
    known = recipe.model_dump() if recipe else {}
    return ", ".join(f"{key} {known[key]}" for key in ("objective", "epochs", "seed") if key in known)


def _accuracies(place: Place, names: Sequence[str]) -> dict[str, str]:
    try:
        known = [final_accuracies(place, name) for name in names]
    except MissingArtifact:
        return dict.fromkeys((*TOKENS, "probe"), "not measured")
    values = {key: [of[key] for of in known] for key in known[0]}
    return dict.fromkeys(TOKENS, "-") | {key: _mean_and_range(found) for key, found in values.items()}


def _pixels(place: Place) -> str:
    """20-NN accuracy on raw pixels in percent; empty where it was not measured."""
    try:
        return f"{pixel_accuracy(place):.1f}"
    except MissingArtifact:
        return ""


def _mean_and_range(values: Sequence[float]) -> str:
    mean = f"{sum(values) / len(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"
