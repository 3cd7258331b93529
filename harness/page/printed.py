"""What the paper prints, and beside it what a profile's own models give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

from harness.artifacts import store
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.tables import AGREE, PROBE, TASKS
from harness.evidence.estimate import Estimate
from harness.page import detection
from harness.params.profile import END_TO_END
from harness.readings.agreement import Agreement
from harness.readings.detection import PRINTED_STATISTICS, DetectionAccuracy, printed_key
from harness.readings.probes import ProbeAccuracy
from harness.readings.published import Number, load
from harness.stages.place import Place

PUBLISHED = Path("claims/published.toml")
# Of Tables 2, A6 and A7 the layers that the detector reads.
_DETECTED = {
    "table2": ("Table 2, AP", "final"),
    "table_a6": ("Table A6, AP", "final"),
    "table_a7": ("Table A7, AP", END_TO_END),
}
# Feature sets of Table 1.
_SETS = {"final": "final layer", "pair": "final and best intermediate", "all": "all layers"}


@dataclass(frozen=True)
class Beside:
    """A row: where the paper prints what, the number there, and ours with its 95 % interval or why there is none."""

    where: str
    what: str
    printed: str
    ours: str


def beside(place: Place) -> tuple[list[Beside], int]:
    """The printed numbers that a profile can measure, in the paper's order, and how many more it prints.

    Raises InvalidInput for a broken artifact; without the file of printed numbers there are none.
    """
    if not PUBLISHED.is_file():
        return [], 0
    numbers = load(PUBLISHED).numbers
    measured: dict[str, tuple[str, str, Callable[[], Estimate]]] = {}
    probes, detectors = cache(partial(_probes, place)), cache(partial(detection.accuracy, place))
    for model in place.params.models:
        for features, words in _SETS.items():
            own = partial(_accuracy, probes, model, features)
            measured[f"table1.{features}.{model}"] = ("Table 1, top-1 %", f"{place.params.title(model)}, {words}", own)
        for other in place.params.models:
            same = partial(_same, place, model, other)
            measured[f"appendix_d.f1.{model}_{other}"] = (
                "Appendix D, F1",
                f"{place.params.title(model)} and {place.params.title(other)}",
                same,
            )
        for table, (where, layers) in _DETECTED.items():
            if model not in place.settings.detected_with(layers):
                continue
            for task, statistic in product(TASKS, PRINTED_STATISTICS):
                words = f"{place.params.title(model)}, {task}{'' if statistic == 'ap' else f', {statistic} objects'}"
                points = partial(_points, detectors, layers, model, task, statistic)
                measured[printed_key(table, task, statistic, model)] = (where, words, points)
    rows = [
        Beside(*measured[key][:2], _printed(one), _ours(measured[key][2])) for key, one in numbers.items() if key in measured
    ]
    return rows, len(numbers) - len(rows)


def _probes(place: Place, model: str) -> ProbeAccuracy:
    return ProbeAccuracy.from_arrays(store.read_arrays(place.path("probes", model), PROBE), model)


def _accuracy(probes: Callable[[str], ProbeAccuracy], model: str, features: str) -> Estimate:
    return probes(model).estimate(features)


def _same(place: Place, a: str, b: str) -> Estimate:
    one, other = place.params.comparison(a, b, place.profile) or (b, a)
    return Agreement.from_arrays(store.read_pairs(place.path("agree", one), AGREE).of(other)).same_answer()


def _points(detectors: Callable[[str, str], DetectionAccuracy], layers: str, model: str, task: str, statistic: str) -> Estimate:
    return detectors(layers, model).points(task, statistic)


def _printed(number: Number) -> str:
    value = f"{number.value:.{number.decimals}f}"
    return value if number.spread is None else f"{value} ± {number.spread:.2g} over {number.runs}"


def _ours(measure: Callable[[], Estimate]) -> str:
    try:
        found = measure()
    except MissingArtifact:
        return "not measured"
    low, high = found.interval()
    return f"{found.value:.3g} [{low:.3g}, {high:.3g}]"
