"""Check: validate the parameters, and write the fingerprint of the code and parameters that decide each stage's result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from pydantic import BaseModel

from harness.artifacts import closure, files
from harness.params.models import Embeddings, Released
from harness.params.profile import Profile
from harness.params.recipes import RandomRecipe
from harness.stages import pipeline, plan
from harness.stages.place import Place

# Each stage's module, and the parameters of the profile that it reads. That of a model's weights is `origin`.
STAGES: dict[str, tuple[str, Callable[[Profile], Sequence[object]]]] = {
    "finetune": ("harness.stages.finetune", lambda p: [p.data, p.finetune]),
    "extract": ("harness.stages.extract", lambda p: [p.data, p.extract]),
    "references": ("harness.stages.references", lambda p: [p.references, p.finetuned, p.sampled]),
    "compare": ("harness.stages.compare", lambda p: [p.extract, p.similarity]),
    "drift": ("harness.stages.drift", lambda p: [p.similarity.subsets]),
    "line": ("harness.stages.line", lambda p: [p.data, p.extract]),
    "knn": ("harness.stages.knn", lambda p: [p.knn]),
    "probe": ("harness.stages.probe", lambda p: [p.data, p.extract, p.probe]),
    "agree": ("harness.stages.agree", lambda p: []),
    "pixels": ("harness.stages.knn", lambda p: [p.data, p.extract, p.knn]),
    "sweep": ("harness.stages.sweep", lambda p: [p.data, p.extract.batch, p.sweep, p.sweep_models]),
    "detect": ("harness.stages.detect", lambda p: [p.data, p.detection.frozen if p.detection else None]),
    "detect_end_to_end": ("harness.stages.detect", lambda p: [p.data, p.detection]),
    "invariance": ("harness.stages.invariance", lambda p: [p.data, p.extract]),
    "segment": ("harness.stages.segment", lambda p: [p.data, p.detection.world if p.detection else None, p.segmentation]),
    "generate": ("harness.stages.generate", lambda p: [p.data, p.extract.seed, sorted(p.sampled), p.generation]),
    "sample": ("harness.stages.sample", lambda p: [p.data, p.extract.images, p.extract.seed, p.knn, p.sampling]),
    "report": ("harness.stages.report", lambda p: [p.models, p.references]),
}


def run(place: Place) -> None:
    """Make fingerprints/<stage>.json of every stage and fingerprints/weights/<model>.json of every model: the code that decides
    the result, file by file, and the resolved parameters.

    A stage depends on its fingerprint alone, so that comments and formatting make nothing stale and a changed default does. For
    the profile that dvc measures, the stages that dvc repro will run are printed.
    """
    # Models of one objective have one code.
    fingerprint = cache(partial(closure.fingerprint, known={}))
    for stage, (module, parameters) in STAGES.items():
        _write(place, stage, fingerprint(module), parameters(place.settings))
    for model in place.settings.models:
        modules, read = origin(place, model)
        _write(place, f"weights/{model}", fingerprint(*modules), read)
    if pipeline.FILES[-1].is_file() and place.profile == place.params.profile:
        print(plan.told(place), file=sys.stderr)


def origin(place: Place, model: str) -> tuple[list[str], list[object]]:
    """The modules that make a model's weights, its objective's among them, and their parameters."""
    weights, module = place.params.weights(model, place.profile), "harness.stages.weights"
    if isinstance(weights, Embeddings):
        return [module], [weights]
    architecture = place.params.architecture(model, place.profile)
    if isinstance(weights, Released | RandomRecipe):
        return [module], [architecture, weights]
    return [module, f"harness.training.{weights.objective}"], [architecture, weights, place.settings.data]


def _write(place: Place, name: str, code: Mapping[str, str], parameters: Sequence[object]) -> None:
    resolved = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parameters]
    content = {"code": code, "parameters": resolved}
    path = place.path("fingerprints", name, ending=".json")
    text = f"{json.dumps(content, indent=1, sort_keys=True)}\n".encode()
    # Waiting until dozens of files are on the disk takes longer than finding that they are the same.
    if not path.is_file() or path.read_bytes() != text:
        files.write_bytes(path, text)
