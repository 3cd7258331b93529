"""Fixtures: one per kind of artifact, and the models by family, for the source that the claims are read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest

from harness.artifacts import params as parameters
from harness.artifacts import store
from harness.artifacts.errors import HarnessError, InvalidInput, MissingArtifact
from harness.artifacts.params import Family, Params, nearest, start_of
from harness.artifacts.schema import Schema
from harness.artifacts.store import Arrays, Table
from harness.artifacts.tables import AGREE, ARRAYS, CKA, FINAL, KNN, PAIRS, PATH, PROBE, SIMILARITY, SWEEP, TOKENS, unpack
from harness.evidence.accuracy import Accuracy
from harness.evidence.agreement import Agreement, Agreements, Answers, MeasuredAnswers, PrintedAnswers
from harness.evidence.claim import Reading, undecided
from harness.evidence.decide import Decision, State
from harness.evidence.depth import blocks_of, without_blocks
from harness.evidence.estimate import Estimate
from harness.evidence.final import Final
from harness.evidence.finding import Finding
from harness.evidence.instrument import Instrument
from harness.evidence.kinship import Kinship
from harness.evidence.neighbourhoods import Neighbourhoods
from harness.evidence.pair import Measure, Pair, Pairs, SameDepth
from harness.evidence.panel import Panel
from harness.evidence.probes import MeasuredProbes, PrintedProbes, ProbeAccuracy, Probes
from harness.evidence.published import Published
from harness.evidence.published import load as load_published
from harness.evidence.sweep import Sweep
from harness.evidence.ways import Ways

# Relative, so that verdicts read the same in every checkout.
ROOT = Path(os.path.relpath(Path(__file__).resolve().parent.parent))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a source or a model that params.yaml does not have, once and with the nearest name."""
    if hasattr(config, "workerinput"):
        return
    sources, models = config.getoption("source") or [], config.getoption("model") or []
    if not sources and not models:
        return
    try:
        known = parameters.load(ROOT / "params.yaml")
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    for option, names, there in (
        ("--source", sources, ["published", *known.profiles]),
        ("--model", [start_of(name) for name in models], list(known.models)),
    ):
        for name in names:
            if name not in there:
                raise pytest.UsageError(f"{option} {name}: expected {nearest(name, there)}")


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's params.yaml."""
    return parameters.load(ROOT / "params.yaml")


@pytest.fixture
def je(params: Params) -> list[str]:
    """The joint-embedding methods of the paper."""
    return family(params, "je")


@pytest.fixture
def rec(params: Params) -> list[str]:
    """The reconstruction methods of the paper."""
    return family(params, "rec")


@pytest.fixture
def untrained(params: Params) -> list[str]:
    """The untrained networks."""
    return family(params, "random")


@pytest.fixture(scope="session")
def panels(params: Params) -> Callable[[str], Panel]:
    """A profile's name to its panel, one for all claims: the instrument is measured once."""
    return cache(lambda source: panel_of(params, source))


@pytest.fixture
def panel(panels: Callable[[str], Panel], reading: Reading) -> Panel | None:
    """The replicates that claims about methods are decided on, and what shows whether the measures can tell."""
    return None if reading.source == "published" else panels(reading.source)


@pytest.fixture
def cka(params: Params, reading: Reading) -> Pairs:
    """Two models' names to their minibatch CKA, the first one's layers in the rows."""
    return pairs_of(params, reading)


@pytest.fixture
def deconfounded(params: Params, reading: Reading) -> Pairs:
    """The same net of what the pixels explain."""
    return pairs_of(params, reading, adjusted=True)


@pytest.fixture
def mutual(params: Params, reading: Reading) -> Measure:
    """Two models' names to the nearest neighbours that they have in common."""
    return neighbourhoods_of(params, reading)


@pytest.fixture
def cls(params: Params, reading: Reading) -> Measure:
    """Two models' names to the debiased CKA of their CLS tokens."""
    return subsets_of(params, reading, "cls")


@pytest.fixture
def gap(params: Params, reading: Reading) -> Measure:
    """Two models' names to the debiased CKA of their mean patch tokens."""
    return subsets_of(params, reading, "gap")


@pytest.fixture
def final(params: Params, reading: Reading) -> Measure:
    """Two models' names to the debiased CKA of what they hand on."""
    return finals_of(params, reading)


@pytest.fixture
def final_mutual(params: Params, reading: Reading) -> Measure:
    """Two models' names to the nearest neighbours that they have in common in what they hand on."""
    return finals_of(params, reading, mutual=True)


@pytest.fixture
def knn(params: Params, reading: Reading) -> Callable[[str], Accuracy]:
    """A model's name to the accuracy of its nearest neighbours."""
    return accuracy_of(params, reading)


@pytest.fixture
def probes(params: Params, reading: Reading, published: Callable[[str, str], Published]) -> Probes:
    """The probes of a profile, or what the paper prints of its own."""
    if reading.source == "published":
        return PrintedProbes(published("probe", "probes of depth 1 to 5 on frozen CLS tokens"))
    return MeasuredProbes(probe_accuracy_of(params, reading))


@pytest.fixture
def ways(params: Params, reading: Reading) -> Callable[[str], Ways]:
    """A model's name to how fine-tuning moved its attention."""
    return ways_of(params, reading)


@pytest.fixture
def agreements(params: Params, reading: Reading) -> Agreements:
    """Two models' names to how alike their linear probes rank and answer, seen from the first one."""
    return agreements_of(params, reading)


@pytest.fixture
def answers(params: Params, reading: Reading, published: Callable[[str, str], Published]) -> Answers:
    """How often two models' linear probes answer the same, in a profile or as the paper prints it."""
    if reading.source == "published":
        return PrintedAnswers(published("agree", "top-1 predictions of each model's linear probe"))
    return MeasuredAnswers(agreements_of(params, reading))


@pytest.fixture
def kinship(params: Params, reading: Reading, model: str) -> Callable[[Measure], Kinship]:
    """A measure to the kinship that it shows, with the runs of the paper's methods and untrained networks.

    Of a model that lacks layer types or a token, all are held against each other by what it has. Raises as `check` does for the
    model that is judged.
    """
    check(params, reading.source, model)
    panel = panel_of(params, reading.source)
    je, rec = ({method: panel.runs[method] for method in family(params, name)} for name in ("je", "rec"))

    def values(measure: Measure) -> Measure:
        def bare(a: str, b: str) -> SameDepth:
            reading.bare = True
            found = measure(a, b)
            reading.bare = False
            return found

        return bare

    another = next((run for run in panel.untrained if run != model), model)

    def kin(measure: Measure) -> Kinship:
        own = measure(model, another)

        def shared(a: str, b: str) -> SameDepth:
            return measure(a, b).like(own)

        return Kinship(shared, je, rec, panel.untrained, values(shared))

    return kin


@pytest.fixture
def finding(params: Params, reading: Reading, model: str, knn: Callable[[str], Accuracy]) -> Callable[..., Decision]:
    """A model's number, as a function of its name, and the family in which the paper says that it is higher, to whose way the
    judged model has. NO_EVIDENCE for a model without a CLS token, of which the paper's findings speak.
    """
    check(params, reading.source, model)
    runs = panel_of(params, reading.source).runs
    je, rec = ([run for method in family(params, name) for run in runs[method]] for name in ("je", "rec"))

    def whose(value: Callable[[str], Estimate], higher: Any) -> Decision:
        if "cls" not in knn(model).tokens:
            return undecided(State.NO_EVIDENCE, f"{model} has no CLS token, of which the paper's findings speak")
        return Finding(value, je, rec, higher).of(model)

    return whose


@pytest.fixture
def measures(
    params: Params,
    reading: Reading,
    model: str,
    cka: Pairs,
    deconfounded: Pairs,
    mutual: Measure,
    cls: Measure,
    gap: Measure,
    final: Measure,
    final_mutual: Measure,
) -> dict[str, Measure]:
    """The measures by which a model can be held against the paper's methods, by name; without a CLS token not by that, and
    embeddings, which have no layers, by what is handed on.
    """
    check(params, reading.source, model)
    if params.model(model).architecture is None:
        return {"final": final, "final_mutual": final_mutual}
    there = unpack(open_pair(params, reading, SIMILARITY, model, family(params, "je")[0])[-1]["tokens"])
    tokens: dict[str, Measure] = {"cls": cls, "gap": gap}
    return {"cka": cka, "deconfounded": deconfounded, "mutual": mutual} | {name: tokens[name] for name in there}


@pytest.fixture
def sweep(params: Params, reading: Reading) -> Sweep:
    """CKA by minibatch size and number of images."""
    check(params, reading.source)
    return Sweep.from_arrays(note(reading, ROOT / "artifacts" / reading.source / "sweep.safetensors", SWEEP))


@pytest.fixture
def published(params: Params, reading: Reading) -> Callable[[str, str], Published]:
    """A stage's name and what it would measure to what the paper prints of it.

    Raises MissingArtifact where the source is a profile: that stage does not exist.
    """

    def printed(stage: str, what: str) -> Published:
        if reading.source != "published":
            check(params, reading.source)
            raise MissingArtifact(
                f"artifacts/{reading.source}/{stage}",
                f"the profile has not measured {what}",
                next_step=f"decide on the printed numbers with --source published, or write the stage {stage}",
            )
        path = ROOT / "claims" / "published.toml"
        numbers = load_published(path)
        reading.note(path.relative_to(ROOT), numbers.sha256)
        return numbers

    return printed


def family(params: Params, name: Family) -> list[str]:
    """The references of a family, in their order, each once however often it was pre-trained.

    Other models of the family are not the paper's, and no claim of the paper is decided on them.
    """
    known = ((model, params.model(model)) for model in params.references)
    return [model for model, entry in known if entry.family == name and entry.replicate_of is None]


def panel_of(params: Params, source: str) -> Panel:
    """The runs of each method of the paper at a profile, and what its measures are held against."""
    reading = Reading(source)
    methods = [*family(params, "je"), *family(params, "rec")]
    # A method without weights at the profile is told as missing when it is opened.
    runs = {method: params.replicates(method, source) or [method] for method in methods}
    there = params.of(source).models
    untrained = [model for model in family(params, "random") if model in there]
    measures: dict[str, Measure] = {
        "cka": pairs_of(params, reading),
        "deconfounded": pairs_of(params, reading, adjusted=True),
        "mutual": neighbourhoods_of(params, reading),
        **{token: subsets_of(params, reading, token) for token in TOKENS},
    }
    supervised = [model for model in there if params.model(model).family == "supervised"]
    anchors = params.of(source).anchors
    further = {
        name: params.replicates(name, source)
        for name, entry in params.models.items()
        if name in there and entry.family in ("je", "rec") and name not in params.references and entry.replicate_of is None
    }
    # What an architecture alone gives is not what training taught.
    kind = {model: params.model(model).architecture for model in there}
    raw = [model for model in there if params.model(model).family == "random"]
    others = [run for known in further.values() for run in known if kind[run] not in {kind[model] for model in untrained}]
    own_kind = {run: [model for model in raw if kind[model] == kind[run]] for run in others}
    instrument = Instrument(measures, accuracy_of(params, reading), runs, untrained, supervised, anchors, own_kind)
    return Panel(instrument, further)


def pairs_of(params: Params, reading: Reading, *, adjusted: bool = False) -> Pairs:
    """CKA of two models from their artifact, net of the pixels if adjusted."""

    def pair(a: str, b: str) -> Pair:
        path, names, transposed, _ = open_pair(params, reading, CKA, a, b)
        return (_bare_pair if reading.bare else _pair)(path, names, transposed, adjusted)

    return pair


def neighbourhoods_of(params: Params, reading: Reading) -> Measure:
    """The common nearest neighbours of two models from their artifact."""

    def shared(a: str, b: str) -> Neighbourhoods:
        found = Neighbourhoods.from_arrays(open_pair(params, reading, SIMILARITY, a, b)[-1])
        return replace(found, draws=1) if reading.bare else found

    return shared


def subsets_of(params: Params, reading: Reading, token: str) -> Measure:
    """Debiased CKA of one token's features of two models from their artifact."""

    def pair(a: str, b: str) -> Pair:
        path, names, transposed, _ = open_pair(params, reading, SIMILARITY, a, b)
        return _subsets(path, names, transposed, token, reading.bare)

    return pair


def finals_of(params: Params, reading: Reading, *, mutual: bool = False) -> Measure:
    """Debiased CKA of what two models hand on from their artifact, or the nearest neighbours in common there."""

    def pair(a: str, b: str) -> Final:
        _, names, _, arrays = open_pair(params, reading, FINAL, a, b)
        found = Final.neighbours(arrays) if mutual else Final.cka(arrays, names)
        return found.bare() if reading.bare else found

    return pair


def accuracy_of(params: Params, reading: Reading) -> Callable[[str], Accuracy]:
    """The accuracy of a model's nearest neighbours from its artifact."""
    return lambda role: _accuracy(open_model(params, reading, KNN, "knn", role)[0])


def probe_accuracy_of(params: Params, reading: Reading) -> Callable[[str], ProbeAccuracy]:
    """The accuracy of a model's probes from its artifact."""
    return lambda role: _probes(*open_model(params, reading, PROBE, "probes", role))


def ways_of(params: Params, reading: Reading) -> Callable[[str], Ways]:
    """How fine-tuning moved a model's attention from its artifact."""

    def moved(role: str) -> Ways:
        model = reading.player(role)
        check(params, reading.source, model)
        path = ROOT / "artifacts" / reading.source / "path" / f"{model}.json"
        table = _table(path)
        noted(reading, path, table)
        return Ways.from_table(table)

    return moved


def agreements_of(params: Params, reading: Reading) -> Agreements:
    """The agreement of two models' linear probes from their artifact."""

    def pair(a: str, b: str) -> Agreement:
        path, names, transposed, _ = open_pair(params, reading, AGREE, a, b)
        return _agreement(path, names, transposed, reading.bare)

    return pair


def open_model(params: Params, reading: Reading, schema: Schema, folder: str, role: str) -> tuple[Path, str]:
    """Put down the artifact of the model that plays a role; where it lies, and the model's name."""
    model = reading.player(role)
    check(params, reading.source, model)
    path = ROOT / "artifacts" / reading.source / folder / f"{model}.safetensors"
    for blocks in blocks_of(note(reading, path, schema)):
        reading.depth(model, blocks)
    return path, model


def open_pair(params: Params, reading: Reading, schema: Schema, a: str, b: str) -> tuple[Path, tuple[str, str], bool, Arrays]:
    """Put down the artifact of the models that play two roles; where it lies, their names, whether the second one is its first.

    Of a pair the artifact of the one holds its comparison with the other, in the folder by the name of their kind.
    """
    names = (reading.player(a), reading.player(b))
    path, transposed = find(ROOT, params, reading.source, schema.kind, *names)
    arrays = note(reading, path, schema, of=names[0] if transposed else names[1])
    for model, blocks in zip(names[::-1] if transposed else names, blocks_of(arrays), strict=False):
        reading.depth(model, blocks)
    return path, names, transposed, arrays


def check(params: Params, source: str, *models: str) -> None:
    """Refuse an unknown profile or model with the nearest name, and a model that has no weights at the profile.

    Raises InvalidInput, and MissingArtifact for the weights.
    """
    params.of(source)
    for model in models:
        params.weights(model, source)


def find(root: Path, params: Params, source: str, kind: str, a: str, b: str) -> tuple[Path, bool]:
    """Where the two models' artifact lies, and whether it has the second one first.

    Raises as check does, and MissingArtifact for layers of embeddings.
    """
    check(params, source, a, b)
    folder = root / "artifacts" / source / kind
    given = [model for model in (a, b) if params.model(model).architecture is None]
    if given and kind in (CKA.kind, SIMILARITY.kind):
        raise without_blocks(folder / given[0])
    for model, other, transposed in ((a, b, False), (b, a, True)):
        if other in params.compared(model, source):
            return folder / f"{model}.safetensors", transposed
    references = ", ".join(params.of(source).references)
    raise MissingArtifact(
        folder / f"{a}.safetensors", f"neither {a} nor {b} is among {references}", next_step="add a reference"
    )


def note(reading: Reading, path: Path, schema: Schema, *, of: str | None = None) -> Arrays:
    """Open an artifact of the source's profile and put it down as read; of a model's comparisons the one with a reference.

    Raises MissingArtifact where it has no such comparison.
    """
    arrays = _read(path, schema.kind)
    noted(reading, path, arrays)
    return arrays if of is None else arrays.of(of)


def noted(reading: Reading, path: Path, found: Arrays | Table) -> None:
    """Put down as read what is of the source's profile. Raises InvalidInput for another's."""
    if found.provenance.profile != reading.source:
        seen = found.provenance.profile
        raise InvalidInput(path, field="profile", seen=seen, expected=reading.source, next_step="run dvc repro")
    reading.note(path.relative_to(ROOT), found.sha256)


# As many as the embedded profile has: each is mapped, not loaded, and the null by roles comes back to all of them.
@lru_cache(maxsize=256)
def _read(path: Path, kind: str) -> Arrays:
    return store.read_pairs(path, PAIRS[kind]) if kind in PAIRS else store.read_arrays(path, ARRAYS[kind])


def _compared(path: Path, kind: str, names: tuple[str, str], transposed: bool) -> Arrays:
    """The comparison of two models in the file of one of them, of the second if transposed."""
    return _read(path, kind).of(names[0] if transposed else names[1])


@lru_cache(maxsize=16)
def _table(path: Path) -> Table:
    return store.read_table(path, PATH)


# A pair keeps its draws (16 MB), which every claim about it shares.
@lru_cache(maxsize=24)
def _pair(path: Path, names: tuple[str, str], transposed: bool, adjusted: bool) -> Pair:
    pair = Pair.from_arrays(_compared(path, CKA.kind, names, transposed), names=names, transposed=transposed)
    return pair.deconfounded() if adjusted else pair


# One layer type: a tenth of that, and the null by roles asks for many.
@lru_cache(maxsize=256)
def _subsets(path: Path, names: tuple[str, str], transposed: bool, token: str, bare: bool) -> Pair:
    arrays = _compared(path, SIMILARITY.kind, names, transposed)
    pair = Pair.from_subsets(arrays, token, names=names, transposed=transposed)
    return replace(pair, draws=1) if bare else pair


@lru_cache(maxsize=256)
def _agreement(path: Path, names: tuple[str, str], transposed: bool, bare: bool) -> Agreement:
    found = Agreement.from_arrays(_compared(path, AGREE.kind, names, transposed), transposed=transposed)
    return replace(found, draws=1) if bare else found


# Without draws it is small, and the null by roles asks for many.
@lru_cache(maxsize=512)
def _bare_pair(path: Path, names: tuple[str, str], transposed: bool, adjusted: bool) -> Pair:
    pair = Pair.from_arrays(_compared(path, CKA.kind, names, transposed), names=names, transposed=transposed)
    return replace(pair.deconfounded() if adjusted else pair, draws=1)


@lru_cache(maxsize=16)
def _accuracy(path: Path) -> Accuracy:
    return Accuracy.from_arrays(_read(path, KNN.kind))


@lru_cache(maxsize=16)
def _probes(path: Path, model: str) -> ProbeAccuracy:
    return ProbeAccuracy.from_arrays(_read(path, PROBE.kind), model)
