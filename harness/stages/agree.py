"""Agree: agreement of class rankings between a model's and the references' linear probes, by image (appendix D)."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import refuse_other_images
from harness.artifacts.tables import AGREE, PROBE, RANKED
from harness.maths.agreement import shifted_within_class, tau_b
from harness.stages.place import Place

# Images of the same class that take the place of each in the second model: the mean over them is what class alone gives.
SHIFTS = 4


def run(place: Place, model: str) -> None:
    """Make agree/<model>: the agreement of the model with each reference that it is compared with."""
    own = store.read_arrays(place.path("probes", model), PROBE)
    inputs, pairs = {f"probes/{model}": own.sha256}, {}
    for reference in tqdm(place.params.compared(model, place.profile), desc=model, disable=not sys.stderr.isatty()):
        other = store.read_arrays(place.path("probes", reference), PROBE)
        refuse_other_images("agree", {model: own.provenance, reference: other.provenance})
        inputs[f"probes/{reference}"] = other.sha256
        pairs[reference] = agreement(own, other)
    provenance = place.provenance(__name__, [SHIFTS], images=own.provenance.images, inputs=inputs)
    store.write_pairs(place.path("agree", model), AGREE, pairs, provenance)


def agreement(a: store.Arrays, b: store.Arrays) -> dict[str, NDArray[np.generic]]:
    """The columns of an agreement artifact, of two models' probes on the same images."""
    label = np.asarray(a["label"])
    tops = [np.asarray(arrays["top"]) for arrays in (a, b)]
    others = [shifted_within_class(label, by) for by in range(1, SHIFTS + 1)]
    if tops[0].shape[1] < max(RANKED):
        seen = f"{tops[0].shape[1]} classes ranked"
        raise InvalidInput("agree", field="rankings", seen=seen, expected=f"{max(RANKED)}: fewer classes rank too little")
    tau, chance = [], []
    for k in RANKED:
        one, two = (np.ascontiguousarray(top[:, :k]) for top in tops)
        tau.append(tau_b(one, two))
        chance.append(np.mean([tau_b(one, two[other]) for other in others], axis=0))
    return {
        "tau": np.stack(tau).astype(np.float16),
        "chance": np.stack(chance).astype(np.float16),
        "label": label,
        "answer_a": np.ascontiguousarray(tops[0][:, 0]),
        "answer_b": np.ascontiguousarray(tops[1][:, 0]),
    }
