"""What the artifacts of a profile say, as Estimates. The claims' fixtures are its methods, and a notebook uses the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

from harness.artifacts.errors import MissingArtifact
from harness.artifacts.image_tables import INVARIANCE, SAMPLES
from harness.artifacts.tables import (
    AGREE,
    CKA,
    DETECT,
    FINAL,
    KNN,
    PIXELS,
    PROBE,
    SEGMENT,
    SIMILARITY,
    SWEEP,
    TOKENS,
    unpack,
)
from harness.evidence.claim import Inputs, undecided
from harness.evidence.decide import Decision, State
from harness.evidence.estimate import Estimate
from harness.evidence.instrument import Instrument
from harness.evidence.measure import Measure, SameDepth
from harness.evidence.panel import Panel
from harness.params.load import load_params
from harness.params.models import Family
from harness.params.params import Params
from harness.params.profile import END_TO_END, Profile
from harness.readings import cached
from harness.readings.accuracy import Accuracy, pixel_accuracy
from harness.readings.agreement import Agreement
from harness.readings.detection import DetectionAccuracy
from harness.readings.files import Files, read_arrays, read_comparison
from harness.readings.final import Final
from harness.readings.finding import Finding
from harness.readings.finetune_path import FinetunePath
from harness.readings.invariance import Invariance
from harness.readings.kinship import Kinship
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.probes import ProbeAccuracy
from harness.readings.published import Published, load
from harness.readings.samples import Generated, Samples
from harness.readings.segmentation import Segmentation
from harness.readings.sweep import Sweep


class Readings:
    """What the artifacts of one profile say. Methods take the names of models, or of methods for which runs stand.

    inputs: which run stands for each method, and the record of what was opened. root: the project's folder.
    Every method raises InvalidInput for an unknown profile or model and for a broken artifact, and MissingArtifact for what
    was not measured.
    """

    def __init__(self, params: Params, inputs: Inputs, root: Path = Path()) -> None:
        self.params, self.inputs, self.root = params, inputs, root
        self._files = Files(params, inputs, root)

    @classmethod
    def of(cls, profile: str, root: Path = Path()) -> Self:
        """The readings of a profile of the project in the folder `root`."""
        return cls(load_params(root / "params.yaml"), Inputs(profile), root)

    def cka(self, a: str, b: str) -> Pair:
        """Minibatch CKA of two models, the first one's layers in the rows."""
        return self._pair(a, b, deconfounded=False)

    def deconfounded(self, a: str, b: str) -> Pair:
        """Minibatch CKA of two models net of what the pixels explain."""
        return self._pair(a, b, deconfounded=True)

    def mutual(self, a: str, b: str) -> Neighbourhoods:
        """The nearest neighbours that two models have in common."""
        path, names, transposed = self._files.of_pair(SIMILARITY, a, b)
        found = Neighbourhoods.from_arrays(read_comparison(path, SIMILARITY.kind, names, transposed))
        return replace(found, draws=1) if self.inputs.values_only else found

    def cls(self, a: str, b: str) -> Pair:
        """Debiased CKA of two models' CLS tokens."""
        return self._subsets(a, b, "cls")

    def gap(self, a: str, b: str) -> Pair:
        """Debiased CKA of two models' mean patch tokens."""
        return self._subsets(a, b, "gap")

    def final(self, a: str, b: str) -> Final:
        """Debiased CKA of two models' pre-logits."""
        return self._final(a, b, mutual=False)

    def final_mutual(self, a: str, b: str) -> Final:
        """The nearest neighbours that two models have in common in their pre-logits."""
        return self._final(a, b, mutual=True)

    def knn(self, model: str) -> Accuracy:
        """The 20-NN accuracy of a model."""
        return cached.accuracy(self._files.of_model("knn", KNN, model)[0])

    def pixels(self) -> float:
        """20-NN accuracy on raw pixels in percent."""
        self._files.check()
        return pixel_accuracy(self._files.arrays("pixels.safetensors", PIXELS))

    def probes(self, model: str) -> ProbeAccuracy:
        """The accuracy of a model's probes."""
        return cached.probes(*self._files.of_model("probes", PROBE, model))

    def agreement(self, a: str, b: str) -> Agreement:
        """How alike two models' linear probes rank and answer, seen from the first one."""
        return cached.agreement(*self._files.of_pair(AGREE, a, b), self.inputs.values_only)

    def finetune_path(self, model: str) -> FinetunePath:
        """How fine-tuning moved a model's attention."""
        return FinetunePath.from_table(self._files.table_of_model("path", model))

    def invariance(self, model: str) -> Invariance:
        """How far a model's features move when one thing in the image changes."""
        return cached.invariance(self._files.of_model("invariance", INVARIANCE, model)[0], self.inputs.values_only)

    def samples(self, model: str, token: str = "cls", level: float | None = None) -> Samples:
        """Images that are drawn from a token of a model, at a level of noise on it: by default that of the claims.

        Raises MissingArtifact where the profile draws none.
        """
        known, source = self.inputs.model_of(model), self.inputs.source
        self._files.check(known)
        settings = self.params.of(source)
        if token not in settings.generated or known not in settings.sampled:
            what = f"profiles.{source} draws no images from {token} of {known}"
            step = f"add {token} to its generated and {known} to its sampled, and run dvc repro"
            raise MissingArtifact(f"artifacts/{source}/samples/{token}/{known}.safetensors", what, next_step=step)
        return cached.samples(self._files.of_model(f"samples/{token}", SAMPLES, model)[0], level, self.inputs.values_only)

    def generated(self, token: str = "cls") -> Generated:
        """Images that are drawn from a token of each model, and who judges their class.

        Raises MissingArtifact where the profile draws none.
        """
        source = self.inputs.source
        settings = self.params.of(source)
        if settings.sampling is None or token not in settings.generated:
            what, step = f"profiles.{source} draws no images from {token}", f"add {token} to its generated, and run dvc repro"
            raise MissingArtifact(f"artifacts/{source}/samples/{token}", what, next_step=step)
        return Generated(lambda model: self.samples(model, token), settings.sampling.judge)

    def segmentation(self, model: str) -> Segmentation:
        """How much of objects' masks a linear read-out finds in a model's patch tokens. Raises as samples does."""
        self._files.listed("segmented", "segment", model, "add {} to it and run dvc repro")
        return Segmentation.from_arrays(read_arrays(self._files.of_model("segment", SEGMENT, model)[0], SEGMENT.kind))

    def detection(self, model: str, layers: str = "final") -> DetectionAccuracy:
        """The average precision of a detector on a model's features: frozen ones, or trained with it (end-to-end).

        Raises MissingArtifact where the profile trains none.
        """
        step = "add it and run dvc repro, or decide on the printed numbers with --source published"
        known = self._files.listed(Profile.detected_field(layers), f"detect/{layers}", model, step)
        return DetectionAccuracy.from_arrays(self._files.arrays(f"detect/{layers}/{known}.safetensors", DETECT))

    def detectors(self) -> dict[tuple[str, str], Callable[[], DetectionAccuracy]]:
        """Accuracies of the detectors by model and layers: of trained backbones, and of the final block of frozen ones.

        Reading one of them does not make a claim one about its model.
        """
        own = Readings(self.params, Inputs(self.inputs.source), self.root)
        settings = self.params.of(self.inputs.source)
        names = [(model, layers) for layers in (END_TO_END, "final") for model in settings.detected_with(layers)]
        return {name: partial(own.detection, *name) for name in names}

    def sweep(self) -> Sweep:
        """CKA by minibatch size and number of images."""
        self._files.check()
        return Sweep.from_arrays(self._files.arrays("sweep.safetensors", SWEEP))

    def published(self, stage: str, measured: str) -> Published:
        """The numbers that the paper prints.

        stage, measured: what a profile would have in their place. Raises MissingArtifact where the source is a profile.
        """
        if self.inputs.source != "published":
            self._files.check()
            what, step = f"the profile has not measured {measured}", "decide on the printed numbers with --source published"
            raise MissingArtifact(
                f"artifacts/{self.inputs.source}/{stage}", what, next_step=f"{step}, or write the stage {stage}"
            )
        path = self.root / "claims" / "published.toml"
        numbers = load(path)
        self.inputs.record(path.relative_to(self.root), numbers.sha256)
        return numbers

    def family(self, name: Family) -> list[str]:
        """The methods of the paper in a family, in the order of params.yaml, each once however often it was pre-trained.

        Other models of the family are not the paper's, and no claim of the paper is decided on them.
        """
        first = self.params.first_runs(self.params.references)
        return [model for model in first if self.params.model(model).family == name]

    def panel(self) -> Panel:
        """The runs of each method of the paper at the profile, and the instrument that they are read with."""
        params, source = self.params, self.inputs.source
        # Runs stand for themselves here, whoever stands for a method while a claim is decided.
        own = Readings(params, Inputs(source), self.root)
        methods = [*self.family("je"), *self.family("rec")]
        # A method without weights at the profile is told as missing when it is opened.
        runs = {method: params.replicates(method, source) or [method] for method in methods}
        there = params.of(source).models
        untrained = [model for model in self.family("random") if model in there]
        names = ("cka", "deconfounded", "mutual", *TOKENS)
        measures: dict[str, Measure] = {name: getattr(own, name) for name in names}
        supervised = [model for model in there if params.model(model).family == "supervised"]
        further = {
            name: params.replicates(name, source)
            for name in params.first_runs(params.models)
            if name in there and params.model(name).family in ("je", "rec") and name not in params.references
        }
        # What an architecture alone gives is not what training taught.
        kind = {model: params.model(model).architecture for model in there}
        raw = [model for model in there if params.model(model).family == "random"]
        others = [run for known in further.values() for run in known if kind[run] not in {kind[model] for model in untrained}]
        every = [run for known in (*runs.values(), *further.values()) for run in known]
        reconstruction = [run for run in every if params.model(run).family == "rec"]
        own_kind = {run: [model for model in raw if kind[model] == kind[run]] for run in others}
        anchors = params.of(source).anchors
        instrument = Instrument(measures, own.knn, runs, untrained, supervised, reconstruction, own.pixels, anchors, own_kind)
        return Panel(instrument, further)

    def measures(self, model: str) -> dict[str, Measure]:
        """The measures by which a model can be compared with the paper's methods, by name.

        A model without a CLS token has no measure of it; embeddings, which have no layers, have those of the pre-logits alone.
        """
        self._files.check(model)
        if self.params.model(model).architecture is None:
            return {"final": self.final, "final_mutual": self.final_mutual}
        path, names, transposed = self._files.of_pair(SIMILARITY, model, self.family("je")[0])
        tokens = unpack(read_comparison(path, SIMILARITY.kind, names, transposed)["tokens"])
        of_tokens: dict[str, Measure] = {"cls": self.cls, "gap": self.gap}
        layers: dict[str, Measure] = {"cka": self.cka, "deconfounded": self.deconfounded, "mutual": self.mutual}
        return layers | {name: of_tokens[name] for name in tokens}

    def kinship(self, model: str, measure: Measure) -> Kinship:
        """The kinship of a model by a measure, with the runs of the paper's methods and untrained networks.

        Where the model lacks layer types or a token, all are compared by what it has.
        """
        self._files.check(model)
        panel = self.panel()
        je, rec = ({method: panel.runs[method] for method in self.family(name)} for name in ("je", "rec"))
        another = next((run for run in panel.untrained if run != model), model)
        own = measure(model, another)

        def shared(a: str, b: str) -> SameDepth:
            return measure(a, b).like(own)

        @cache  # Asked for again for each third of the depth; without draws it is small.
        def values(a: str, b: str) -> SameDepth:
            self.inputs.values_only = True
            found = shared(a, b)
            self.inputs.values_only = False
            return found

        return Kinship(shared, je, rec, panel.untrained, values)

    def finding(self, model: str, value: Callable[[str], Estimate], higher: Any) -> Decision:
        """The family that a model behaves like in a finding of the paper.

        value: a model's name to its number. higher: the family that has the higher number by the paper.
        NO_EVIDENCE for a model without a CLS token, since the paper's findings are about CLS tokens.
        """
        self._files.check(model)
        if "cls" not in self.knn(model).tokens:
            return undecided(State.NO_EVIDENCE, f"{model} has no CLS token, and the paper's findings are about CLS tokens")
        runs = self.panel().runs
        je, rec = ([run for method in self.family(name) for run in runs[method]] for name in ("je", "rec"))
        return Finding(value, je, rec, higher).of(model)

    def _pair(self, a: str, b: str, *, deconfounded: bool) -> Pair:
        found = self._files.of_pair(CKA, a, b)
        return (cached.pair_values if self.inputs.values_only else cached.pair)(*found, deconfounded)

    def _subsets(self, a: str, b: str, token: str) -> Pair:
        return cached.subsets(*self._files.of_pair(SIMILARITY, a, b), token, self.inputs.values_only)

    def _final(self, a: str, b: str, *, mutual: bool) -> Final:
        path, names, transposed = self._files.of_pair(FINAL, a, b)
        arrays = read_comparison(path, FINAL.kind, names, transposed)
        found = Final.neighbours(arrays) if mutual else Final.cka(arrays, names)
        return found.values_only() if self.inputs.values_only else found


read = Readings.of  # For a notebook: harness.read("embedded").
