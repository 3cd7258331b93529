"""k-NN classification of one depth, two tokens: ours beside scikit-learn and faiss with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from harness.maths.neighbours import classify
from tests.bench.measure import Entry, Item, Measured

K, TEMPERATURE, CLASSES, TOKENS = 20, 0.07, 10, 2
OURS = "classify"


def item(bank: int, queries: int, width: int) -> Item:
    """Random features around one centre for each class, float32."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, width)).astype(np.float32)
    labels, truth = rng.integers(CLASSES, size=bank), rng.integers(CLASSES, size=queries)
    x, q = (
        [centres[t] + 2 * rng.normal(size=(len(t), width)).astype(np.float32) for _ in range(TOKENS)] for t in (labels, truth)
    )
    label = torch.from_numpy(labels)

    def ours() -> NDArray[np.int64]:
        def one(t: int) -> NDArray[np.int64]:
            parts = torch.from_numpy(x[t]), label, torch.from_numpy(q[t])
            return classify(*parts, classes=CLASSES, k=K, temperature=TEMPERATURE).numpy()

        return np.stack([one(t) for t in range(TOKENS)])

    def scikit_learn() -> NDArray[np.int64]:
        def vote(distance: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.exp((1 - distance) / TEMPERATURE)

        def one(t: int) -> NDArray[np.int64]:
            peer = KNeighborsClassifier(K, metric="cosine", algorithm="brute", weights=vote).fit(x[t], labels)
            return np.asarray(peer.predict(q[t]))

        return np.stack([one(t) for t in range(TOKENS)])

    def faiss() -> NDArray[np.int64]:
        import faiss as library

        def one(t: int) -> NDArray[np.int64]:
            index = library.IndexFlatIP(width)
            index.add(_unit(x[t]))
            near, where = index.search(_unit(q[t]), K)
            votes = np.zeros((queries, CLASSES))
            np.add.at(votes, (np.arange(queries)[:, None], labels[where]), np.exp((near - near[:, :1]) / TEMPERATURE))
            return votes.argmax(1)

        return np.stack([one(t) for t in range(TOKENS)])

    peers: dict[str, Callable[[], NDArray[np.int64]]] = {"scikit-learn": scikit_learn}
    missing = {}
    if find_spec("faiss"):
        peers["faiss-cpu"] = faiss
    else:
        missing["faiss-cpu"] = "pip install faiss-cpu"

    def remarks(measured: Mapping[str, Measured]) -> list[str]:
        mine, lines = measured[OURS], []
        for peer in peers:
            other = measured[peer]
            differ = int((mine.result != other.result).sum())
            ratios = f"{mine.wall / other.wall:.2f} wall, {mine.cpu / other.cpu:.2f} cpu"
            lines.append(f"{OURS} / {peer}: {ratios}; {differ} of {mine.result.size} answers differ")
        fastest = min(measured[peer].wall for peer in peers)
        return [*lines, f"{OURS} / the faster peer: {mine.wall / fastest:.2f} wall (aim at most 1.2)"]

    entries = [Entry(OURS, ours), *(Entry(peer, run) for peer, run in peers.items())]
    return Item(f"{K}-NN, {TOKENS} tokens of one depth: {bank} x {queries} x {width}", entries, remarks, missing)


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))
