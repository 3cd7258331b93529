"""Report: a profile's numbers as metrics and plots that `dvc metrics diff` and `dvc plots` read, and one picture of them."""

from __future__ import annotations

import io
import json
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.artifacts import files, store
from harness.artifacts.tables import AGREE, CKA, CURVE, INVARIANCE, KNN, PIXELS, PROBE, TOKENS, unpack
from harness.stages.place import Place


def run(place: Place) -> None:
    """Make report/metrics.json, report/knn.csv, report/curves.csv and report/overview.png."""
    for name, text in texts(place).items():
        _write(place, name, text)
    files.write_bytes(place.path("report", ending="") / "overview.png", _picture(place, _knn(place), _cka(place)))


def texts(place: Place) -> dict[str, str]:
    """The report's files of numbers, by name."""
    knn, cka, curves = _knn(place), _cka(place), _curves(place)
    pixels = store.read_arrays(place.path("pixels"), PIXELS)
    final = knn[knn.depth == "norm"]
    metrics = {
        "knn": {m: {t: row.accuracy for t, row in rows.set_index("features").iterrows()} for m, rows in final.groupby("model")},
        "probe": _probes(place),
        "knn_pixels": _share(pixels["vote"], pixels["label"]),
        "cka_same_depth": {pair: round(float(np.nanmean(np.diag(matrix))), 4) for pair, matrix in cka.items()},
        "mirrored": _mirrored(place),
        "probe_agreement": _agreement(place),
    }
    return {
        "metrics.json": json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False) + "\n",
        "knn.csv": knn.to_csv(index=False, lineterminator="\n"),
        "curves.csv": curves.to_csv(index=False, lineterminator="\n"),
    }


def _knn(place: Place) -> pd.DataFrame:
    """One row per model, features (cls, gap, probe) and depth (block number, then "norm")."""
    rows: list[dict[str, Any]] = []
    for model in place.params.at(place.profile):
        arrays = store.read_arrays(place.path("knn", model), KNN)
        vote, label = arrays["vote"], arrays["label"]
        depths = [*map(str, range(vote.shape[1] - 1)), "norm"]
        for token, name in enumerate(unpack(arrays["tokens"])):
            shares = [_share(v, label) for v in vote[token]]
            rows += [{"model": model, "features": name, "depth": d, "accuracy": s} for d, s in zip(depths, shares, strict=True)]
        rows.append({"model": model, "features": "probe", "depth": "norm", "accuracy": _share(arrays["probe"], label)})
    return pd.DataFrame(rows)


def _probes(place: Place) -> dict[str, dict[str, float]]:
    """By model and feature set, the mean accuracy of the reported probes."""
    out = {}
    for model in place.params.at(place.profile):
        arrays = store.read_arrays(place.path("probes", model), PROBE)
        right = np.unpackbits(np.asarray(arrays["right"]), axis=2, count=len(arrays["label"])).mean((1, 2))
        out[model] = {name: round(float(share), 4) for name, share in zip(unpack(arrays["sets"]), right, strict=True)}
    return out


def _mirrored(place: Place) -> dict[str, float]:
    """By model, how far the final CLS token moves when the image is mirrored, where 1 is as far as to another image.

    Without a CLS token it is the mean token.
    """
    out = {}
    for model in place.params.at(place.profile):
        arrays = store.read_arrays(place.path("invariance", model), INVARIANCE)
        changes = unpack(arrays["changes"])
        # Embeddings are of the images as they are.
        if changes:
            moved, others = (np.asarray(arrays[name], np.float64) for name in ("moved", "others"))
            out[model] = round(float(moved[changes.index("flip"), 0].mean() / others[0].mean()), 4)
    return out


def _agreement(place: Place) -> dict[str, float]:
    """Mean tau-b of the 5 most likely classes of linear probes, of each unordered pair of references."""
    out = {}
    for i, b in enumerate(place.settings.references):
        pairs = store.read_pairs(place.path("agree", b), AGREE)
        for a in place.settings.references[:i]:
            out[f"{a}-{b}"] = round(float(np.asarray(pairs.of(a)["tau"][0], np.float64).mean()), 4)
    return out


def _cka(place: Place) -> dict[str, np.ndarray]:
    """Full layer by layer CKA of each unordered pair of references."""
    names = place.settings.references
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    # The later of two references is the model of their artifact.
    of = {name: store.read_pairs(place.path("cka", name), CKA) for name in names}
    return {f"{a}-{b}": np.array(of[b].of(a)["cka"], np.float64).T for a, b in pairs}


def _curves(place: Place) -> pd.DataFrame:
    tables = []
    for model in place.params.at(place.profile):
        rows = store.read_table(place.path("curves", model, ending=".json"), CURVE).rows
        tables.append(rows.assign(model=model))
    return pd.concat([t for t in tables if len(t)] or tables)


def _share(vote: np.ndarray, label: np.ndarray) -> float:
    return round(float((vote == label).mean()), 4)


def _write(place: Place, name: str, text: str) -> None:
    files.write_bytes(place.path("report", ending="") / name, text.encode())


def _picture(place: Place, knn: pd.DataFrame, cka: dict[str, np.ndarray]) -> bytes:
    """Heat maps of CKA between the pre-trained references, and 20-NN accuracy of the CLS token by block, beside raw pixels."""
    trained = place.params.methods(place.profile)
    shown = [pair for pair in cka if set(pair.split("-")) <= set(trained)][:3] or list(cka)[:3]
    title = place.params.title
    with mpl.rc_context({"font.size": 10, "svg.hashsalt": "report"}):
        figure = Figure(figsize=(4.4 + 2.8 * len(shown), 3.4), layout="constrained")
        axes = figure.subplots(1, len(shown) + 1, width_ratios=[1] * len(shown) + [1.4])
        for axis, pair in zip(axes, shown, strict=False):
            a, b = pair.split("-")
            image = axis.imshow(cka[pair], origin="lower", vmin=0, vmax=1, cmap="magma")
            axis.set(title=f"{title(a)} and {title(b)}", ylabel=f"layer of {title(a)}", xlabel=f"layer of {title(b)}")
        figure.colorbar(image, ax=axes[: len(shown)], shrink=0.8, label="CKA")
        of_cls = knn[knn.features == TOKENS[0]]
        for model in trained or place.settings.models:
            rows = of_cls[of_cls.model == model]
            axes[-1].plot(rows.depth, 100 * rows.accuracy, label=title(model))
        pixels = store.read_arrays(place.path("pixels"), PIXELS)
        axes[-1].axhline(100 * _share(pixels["vote"], pixels["label"]), color="grey", linestyle=":", label="raw pixels")
        axes[-1].set(title="20-NN accuracy of the CLS token", xlabel="block", ylabel="accuracy, %", ylim=(0, 100))
        axes[-1].set_xticks(range(0, len(rows), 2))
        axes[-1].legend(fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()
