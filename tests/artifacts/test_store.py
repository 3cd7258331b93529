"""Artifacts: what is written is read back, and everything else is refused with a message that helps."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest

from harness.artifacts import store
from harness.artifacts.errors import BadEnvironment, InvalidInput, MissingArtifact
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Column, Schema

MADE = Provenance(profile="test", stage="test", parameters="p", code="c")
ARRAYS = Schema("toy", 1, {"x": Column("float32", ("row", "col"), "none", -1, 1), "y": Column("int64", ("row",), "class", 0)})
TABLE = Schema("rows", 1, {"name": Column("str", ("row",), "text"), "value": Column("float64", ("row",), "%", 0, 100)})


def toy(fill=0.5):
    return {"x": np.full((3, 2), fill, np.float32), "y": np.arange(3)}


@pytest.fixture
def path(tmp_path):
    store.write_arrays(tmp_path / "a.safetensors", ARRAYS, toy(), MADE)
    return tmp_path / "a.safetensors"


def test_arrays_and_tables_come_back_equal_and_byte_identical(path, tmp_path):
    back = store.read_arrays(path, ARRAYS)
    np.testing.assert_array_equal(back["x"], toy()["x"])
    assert back.provenance == MADE
    first = path.read_bytes()
    assert store.write_arrays(path, ARRAYS, toy(), MADE) == back.sha256
    assert path.read_bytes() == first
    rows = pd.DataFrame({"name": ["a", "b"], "value": [1.0, 1 / 3]})
    store.write_table(tmp_path / "t.json", TABLE, rows, MADE)
    pd.testing.assert_frame_equal(store.read_table(tmp_path / "t.json", TABLE).rows, rows, check_dtype=False, rtol=1e-14)


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_flipped_byte_is_refused(path, where):
    content = bytearray(path.read_bytes())
    content[{"start": 12, "middle": len(content) // 2, "end": len(content) - 1}[where]] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"dvc repro|kind, version"):
        store.read_arrays(path, ARRAYS)


def test_truncated_and_missing_files_are_refused(path):
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InvalidInput, match="whole safetensors"):
        store.read_arrays(path, ARRAYS)
    path.unlink()
    with pytest.raises(MissingArtifact, match="dvc repro"):
        store.read_arrays(path, ARRAYS)


def test_a_tampered_table_is_refused(tmp_path):
    path = tmp_path / "t.json"
    store.write_table(path, TABLE, pd.DataFrame({"name": ["a"], "value": [1.0]}), MADE)
    body = json.loads(path.read_text())
    body["rows"][0]["value"] = 2.0
    path.write_text(json.dumps(body))
    with pytest.raises(InvalidInput, match="sha256"):
        store.read_table(path, TABLE)
    path.write_text("{")
    with pytest.raises(InvalidInput, match="whole JSON"):
        store.read_table(path, TABLE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.full((3, 2), 2, np.float32)}, "x"),
        ({"x": np.full((3, 2), np.nan, np.float32)}, "6 NaN or Inf, first at"),
        ({"x": np.zeros((3, 2))}, "float32"),
        ({"x": np.zeros((4, 2), np.float32)}, "row = 3"),
        ({"x": np.zeros(3, np.float32)}, "axes"),
        ({"z": np.zeros(3)}, "columns of toy"),
    ],
)
def test_what_does_not_fit_the_schema_is_never_written(tmp_path, change, message):
    with pytest.raises(InvalidInput, match=message):
        store.write_arrays(tmp_path / "a.safetensors", ARRAYS, toy() | change, MADE)
    assert not list(tmp_path.iterdir())


def test_another_schema_version_is_refused(path):
    with pytest.raises(InvalidInput, match="toy version 1"):
        store.read_arrays(path, Schema("toy", 2, ARRAYS.columns))


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "not writable"), (errno.EACCES, "not writable")]
)
def test_disk_and_permission_faults_leave_the_old_artifact_whole(path, monkeypatch, code, message):
    before = path.read_bytes()

    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BadEnvironment, match=message):
        store.write_arrays(path, ARRAYS, toy(0.1), MADE)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def _write(args):
    path, fill = args
    for _ in range(20):
        store.write_arrays(path, ARRAYS, toy(fill), MADE)
    return fill


def test_eight_writers_leave_one_whole_artifact(path):
    with ProcessPoolExecutor(8) as pool:
        fills = list(pool.map(_write, [(path, i / 10) for i in range(8)]))
    assert store.read_arrays(path, ARRAYS)["x"][0, 0] in np.array(fills, np.float32)


def test_a_writer_killed_at_any_moment_leaves_a_whole_artifact(path):
    code = (
        "import sys, numpy as np; sys.path.insert(0, 'tests/artifacts'); from test_store import *; from pathlib import Path\n"
        f"print('ready', flush=True)\nwhile True: store.write_arrays(Path({str(path)!r}), ARRAYS, toy(0.25), MADE)"
    )
    for moment in (0.0, 0.01, 0.03):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert float(store.read_arrays(path, ARRAYS)["x"][0, 0]) in (0.5, 0.25)
