"""How attention moved: tables by hand, networks of any depth, refusals of what is no way; and the barrier of the line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.finetuning_tables import PATH
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays, Table
from harness.readings.finetune_path import FinetunePath, barrier


def table(blocks: int = 12, **changes: object) -> Table:
    """Attention of block i goes i + 1 of 2 i + 4, from a norm of 10; other rows have other numbers."""
    rows = [
        {"every": every, "block": i, "kind": kind, "net": i + 1.0, "length": 2.0 * i + 4, "start": 10.0, "steps": 10 // every}
        | ({} if kind == "attention" and every == 1 else {"net": 0.5, "length": 50.0})
        for every in (2, 1)
        for kind in ("fc", "attention", "norm")
        for i in reversed(range(blocks))
    ]
    rows[blocks * 4] |= changes
    return Table(
        pd.DataFrame(rows, columns=list(PATH.columns)),
        Provenance(profile="p", stage="s", parameters="", code="", images=""),
        "sha",
    )


def test_efficiency_and_displacement_by_hand() -> None:
    path = FinetunePath.from_table(table())
    expected = np.mean([(i + 1) / (2 * i + 4) for i in range(12)])
    assert path.efficiency().value == pytest.approx(expected)
    assert path.displacement().value == pytest.approx(np.mean([(i + 1) / 10 for i in range(12)]))
    assert (path.efficiency().n, path.efficiency().unit) == (12, "blocks")


def test_two_models_are_paired_by_depth() -> None:
    """Blocks differ much, and by the same in both: so their difference is known well."""
    one = FinetunePath.from_table(table())
    other = FinetunePath(one.net * 0.9, one.length, one.start)
    low, high = (one.efficiency() - other.efficiency()).interval()
    assert high - low < 0.15 * (one.efficiency().interval()[1] - one.efficiency().interval()[0])


def test_a_deeper_network_has_its_blocks_at_the_same_shares_of_the_depth() -> None:
    path = FinetunePath.from_table(table(blocks=24))
    assert path.net.tolist() == [round(i * 23 / 11) + 1 for i in range(12)]
    with pytest.raises(InvalidInput, match="at least 6"):
        FinetunePath.from_table(table(blocks=5))


@pytest.mark.parametrize("changes", [{"net": 27.0}, {"net": 0.0}, {"start": 0.0}])
def test_what_is_no_way_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)attention of block 11.*0 < net <= length"):
        FinetunePath.from_table(table(**changes))


def test_a_missing_block_or_epoch_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)blocks.*10, 12.*all, from 0 on"):
        FinetunePath.from_table(table(block=12))
    only_every_second = table().rows[lambda rows: rows.every == 2]
    with pytest.raises(InvalidInput, match=r"(?s)attention after every epoch.*blocks \[\]"):
        FinetunePath.from_table(Table(only_every_second, table().provenance, "sha"))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)blocks.*\(12,\) of each"):
        FinetunePath(np.ones(11), np.ones(12), np.ones(12))


def line(loss: object, share: object = (0, 0.25, 0.5, 1)) -> Arrays:
    provenance = Provenance(profile="p", stage="s", parameters="", code="")
    return Arrays({"share": np.asarray(share, float), "loss": np.asarray(loss, np.float32)}, provenance, "sha")


def test_the_barrier_is_the_highest_rise_over_the_chord_and_knows_its_images() -> None:
    """Two images with chords 2 to 0 and 4 to 2: over their mean, 2.5 at a quarter and 2 at half."""
    found = barrier(line([[2, 4], [2.5, 3.5], [4, 2], [0, 2]]))
    assert found.value == pytest.approx(1.0)
    assert (found.n, found.unit) == (2, "images")
    # A way that runs down to its end under the chord has no barrier, and says by how much not.
    assert barrier(line([[2, 4], [1, 3], [0.5, 2.5], [0, 2]])).value == pytest.approx(-0.5)
    rng = np.random.default_rng(0)
    noisy = np.array([2.0, 2.0, 1.5, 0.0])[:, None] + rng.normal(size=300)
    low, high = barrier(line(noisy)).interval()
    assert low == pytest.approx(0.5, abs=1e-3) == high


def test_a_line_of_ends_alone_has_no_barrier() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)line.*points.*seen: 2"):
        barrier(line([[2, 4], [0, 2]], (0, 1)))
