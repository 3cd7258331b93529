"""k-NN: the class that each image's neighbours vote for, at every block and token, and a logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.artifacts import store
from harness.artifacts.layout import Layout
from harness.artifacts.provenance import digest
from harness.artifacts.tables import KNN, PIXELS, pack
from harness.data import images
from harness.maths.neighbours import classify
from harness.params.profile import KnnParams
from harness.stages import summary
from harness.stages.place import Place

LIBRARIES = ("torch", "numpy", "scikit-learn")
# Training images whose features are in memory at a time: 0.4 GB of a ViT-B's, the products with queries among them.
ROWS = 65_536


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make knn/<model> from the model's bank."""
    bank = summary.bank(place, model)
    params = place.settings.knn
    provenance = place.provenance(
        __name__,
        [params],
        images=bank.provenance.images,
        inputs={f"summaries/{model}": summary.sha256(place, model)},
        libraries=LIBRARIES,
    )
    store.write_arrays(place.path("knn", model), KNN, votes(bank, params, device), provenance)


def pixels(place: Place, *, device: str = "cpu") -> None:
    """Make pixels: the same k-NN on the raw pixels of the same images, as a baseline."""
    settings = place.settings
    size, params = settings.extract, settings.knn
    most = params.images or max(size.bank, size.queries)
    train = images.load(settings.data, "train", min(size.bank, most), size.seed)
    validation = images.load(settings.data, "validation", min(size.queries, most), size.seed)
    x, q = (torch.from_numpy(_flat(source)).to(device) for source in (train, validation))
    offset = x.mean(0)
    vote = _classify(x - offset, torch.from_numpy(train.label).to(device), q - offset, train.classes, params)
    values = {"label": validation.label.astype(np.int16), "vote": vote}
    listed = digest([images.hashes(source.read(np.arange(len(source)))).tolist() for source in (train, validation)])
    provenance = place.provenance(__name__, [settings.data, size, params], images=listed, libraries=LIBRARIES)
    store.write_arrays(place.path("pixels"), PIXELS, values, provenance)


def votes(bank: store.Arrays, params: KnnParams, device: str = "cpu") -> dict[str, NDArray[np.generic]]:
    """The columns of a k-NN artifact. Votes at (token, depth): features after each block and after the final norm.

    Of the training images' features, ROWS are in memory at a time; those that the linear probe is fitted on besides.
    """
    label = torch.from_numpy(np.array(bank["train_label"])).to(device)
    classes = int(label.max()) + 1
    layout = Layout.of(bank)

    def parts(columns: slice, of: Callable[[NDArray[np.generic]], torch.Tensor]) -> Iterator[torch.Tensor]:
        for start in range(0, len(label), ROWS):
            yield of(bank["train"][start : start + ROWS, columns]).to(device)

    def vote(columns: slice, of: Callable[[NDArray[np.generic]], torch.Tensor] = _float) -> NDArray[np.int16]:
        return _classify(parts(columns, of), label, of(bank["validation"][:, columns]).to(device), classes, params)

    final = layout.at(layout.tokens[0], -1)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=params.probe, max_iter=2000))
    probe.fit(np.asarray(bank["train"][: params.images, final], np.float64), np.asarray(bank["train_label"][: params.images]))

    def logits(features: NDArray[np.generic]) -> torch.Tensor:
        found = probe.decision_function(np.asarray(features, np.float64))
        # Of two classes scikit-learn gives the second one's alone.
        return torch.from_numpy(np.stack([-found, found], axis=1) if found.ndim == 1 else found).float()

    return {
        "tokens": pack(layout.tokens),
        "label": np.asarray(bank["validation_label"]).astype(np.int16),
        "vote": np.stack([np.stack([vote(layout.at(t, d)) for d in range(len(layout.widths))]) for t in layout.tokens]),
        "probe": probe.predict(np.asarray(bank["validation"][:, final], np.float64)).astype(np.int16),
        "probe_vote": vote(final, logits),
    }


def _float(features: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(features, np.float32))


def _classify(
    bank: torch.Tensor | Iterable[torch.Tensor], label: torch.Tensor, queries: torch.Tensor, classes: int, params: KnnParams
) -> NDArray[np.int16]:
    answer = classify(bank, label, queries, classes=classes, k=params.k, temperature=params.temperature)
    return answer.cpu().numpy().astype(np.int16)


def _flat(source: images.Images) -> NDArray[np.float32]:
    return source.read(np.arange(len(source))).reshape(len(source), -1).astype(np.float32) / 255
