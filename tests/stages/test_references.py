"""The file that says what models are compared with: as many lines as references, and blind to whoever is none."""

import hashlib
import json
from pathlib import Path

import pytest

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.stages import references
from harness.stages.place import Place

MADE = Path("artifacts/tiny/references/summaries.json")


def put(place: Place, **contents: bytes) -> None:
    for name, content in contents.items():
        path = place.path("summaries", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_it_names_each_reference_with_the_hash_of_its_file(tiny: Place) -> None:
    contents = {name: name.encode() for name in tiny.settings.references}
    put(tiny, **contents)
    references.run(tiny, "summaries")
    assert json.loads(MADE.read_text()) == {n: hashlib.sha256(c).hexdigest() for n, c in contents.items()}


def test_a_model_that_is_no_reference_changes_nothing_and_a_reference_does(tiny: Place) -> None:
    put(tiny, **{name: name.encode() for name in tiny.settings.references})
    references.run(tiny, "summaries")
    before = MADE.read_bytes()
    put(tiny, another=b"another")
    references.run(tiny, "summaries")
    assert MADE.read_bytes() == before
    put(tiny, **{tiny.settings.references[-1]: b"other weights"})
    references.run(tiny, "summaries")
    assert MADE.read_bytes() != before


def test_a_reference_that_was_not_measured_is_missing(tiny: Place) -> None:
    first, *others = tiny.settings.references
    put(tiny, **{name: b"" for name in others})
    with pytest.raises(MissingArtifact, match=f"summaries/{first}"):
        references.run(tiny, "summaries")


def test_another_kind_is_refused(tiny: Place) -> None:
    with pytest.raises(InvalidInput, match=r"--kind\n  seen: summarie\n  expected: summaries or summaries_ft\?"):
        references.run(tiny, "summarie")
