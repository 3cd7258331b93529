"""References: the hashes of everything that models are compared with, in one file."""

from __future__ import annotations

import hashlib
import json

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.params.models import FINETUNED, start_of
from harness.params.wording import nearest
from harness.stages.place import Place

# What is compared: banks, which their summaries stand for, and probes; and banks of fine-tuned models. Checkpoints are of those
# models whose features one diffusion model learns from.
KINDS = ("summaries", "probes", "checkpoints", f"summaries{FINETUNED}")


def run(place: Place, kind: str) -> None:
    """Make references/<kind>.json: the SHA-256 of the file of each of the profile's references, fine-tuned ones with <kind>_ft.

    Of checkpoints it has those of the `sampled` models.
    A comparison depends on this file and not on those of all models: it is the same while the references are, so that a
    model that joins makes no comparison of others stale, and dvc.yaml need not say how many references there are.
    Raises InvalidInput for another kind, MissingArtifact for a file that is not there.
    """
    if kind not in KINDS:
        raise InvalidInput("command line", field="--kind", seen=kind, expected=nearest(kind, KINDS))
    found = {}
    folder = start_of(kind)
    references = place.params.compared_with(place.profile, finetuned=kind != folder)
    for name in place.settings.sampled if kind == "checkpoints" else references:
        path = place.path(folder, name)
        if not path.is_file():
            raise MissingArtifact(path, f"{name} is a reference", next_step="run dvc repro")
        with path.open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    files.write_bytes(place.path("references", kind, ending=".json"), f"{json.dumps(found, indent=1)}\n".encode())
