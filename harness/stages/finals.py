"""A token of a model after its final norm, image by image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.images import Images
from harness.models.build import normalisation, normaliser
from harness.models.represent import represent
from harness.stages.networks import load_network
from harness.stages.place import Place


def final_features(
    place: Place, model: str, images: Images, token: str = "cls", *, device: str = "cpu"
) -> tuple[NDArray[np.float32], str]:
    """A token's features (n, width) of images, and the SHA-256 of the checkpoint that they are of.

    Raises InvalidInput for a token that the network does not have, and as `represent` does.
    """
    network, known = load_network(place, model)
    normalise = normaliser(*normalisation(place.params.weights(model, place.profile), place.settings.data)).to(device)
    parts = represent(network, normalise, images, place.settings.extract.batch, device=device)
    return np.concatenate([part.features[:, part.layout.at(token, -1)] for part in parts], dtype=np.float32), known.sha256
