"""Check: the parameters, before anything is measured by them."""

from __future__ import annotations

from harness.artifacts import files
from harness.stages.place import Place


def run(place: Place) -> None:
    """Make checked.txt, which every first stage depends on: params.yaml was read whole and has the profile.

    dvc itself answers an unknown profile with the names of parameters that it misses.
    """
    files.write_bytes(place.path("checked", ending=".txt"), f"{place.profile}\n".encode())
