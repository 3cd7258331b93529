"""Artifacts: what is written is read back, and everything else is refused with a message that helps."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.artifacts import files, store, tables
from harness.artifacts.errors import BadEnvironment, InvalidInput, MissingArtifact
from harness.artifacts.header import TAGS
from harness.artifacts.provenance import Provenance
from harness.artifacts.schema import Column, Schema

MADE = Provenance(profile="test", stage="test", parameters="p", code="c")
# As it is read back: the store adds which artifact it is.
MADE_A = MADE.model_copy(update={"artifact": "a"})
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
    assert back.provenance == MADE_A
    first = path.read_bytes()
    assert store.write_arrays(path, ARRAYS, toy(), MADE) == back.sha256
    assert path.read_bytes() == first
    rows = pd.DataFrame({"name": ["a", "b"], "value": [1.0, 1 / 3]})
    store.write_table(tmp_path / "t.json", TABLE, rows, MADE)
    pd.testing.assert_frame_equal(store.read_table(tmp_path / "t.json", TABLE).rows, rows, check_exact=True)


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
    with pytest.raises(InvalidInput, match="toy version 1"):
        store.read_arrays(path, Schema("other", 1, ARRAYS.columns))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EFBIG, "disk is full"),
        (errno.EROFS, "not writable"),
        (errno.EACCES, "not writable"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("write", ["arrays", "bytes"])
def test_disk_and_permission_faults_leave_the_old_artifact_whole(path, monkeypatch, code, message, write):
    before = path.read_bytes()

    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BadEnvironment, match=message) as caught:
        store.write_arrays(path, ARRAYS, toy(0.1), MADE) if write == "arrays" else files.write_bytes(path, b"new")
    assert caught.value.exit_code == 14
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_where_no_temporary_can_be_made_is_told(path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    before = path.read_bytes()
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(BadEnvironment, match="not writable"):
        store.write_arrays(path, ARRAYS, toy(0.1), MADE)
    with pytest.raises(BadEnvironment, match="not writable"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == before


def test_a_file_where_a_folder_should_be_is_told(path):
    with pytest.raises(BadEnvironment, match=r"FileExistsError|NotADirectoryError"):
        store.write_arrays(path / "below" / "b.safetensors", ARRAYS, toy(), MADE)


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from harness.artifacts import store
from harness.artifacts.errors import BadEnvironment
from tests.artifacts.test_store import MADE, WIDE
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.write_arrays(Path(sys.argv[1]), WIDE, {"x": np.zeros((int(sys.argv[2]), 100), np.float64)}, MADE)
except BadEnvironment as error:
    print(error)
    sys.exit(error.exit_code)
"""
WIDE = Schema("wide", 1, {"x": Column("float64", ("row", "col"), "none")})


# The array itself is too large, and the array fits but not the whole file.
@pytest.mark.parametrize("rows", [1000, 125])
def test_a_disk_that_fills_up_while_writing_leaves_the_old_artifact_whole(tmp_path, rows):
    path = tmp_path / "w.safetensors"
    store.write_arrays(path, WIDE, {"x": np.ones((2, 100))}, MADE)
    before = path.read_bytes()
    run = subprocess.run([sys.executable, "-c", FULL, str(path), str(rows)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (14, "")
    assert "disk is full or the file too large" in run.stdout
    assert "bytes free" in run.stdout
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _write(args):
    path, fill = args
    for _ in range(20):
        store.write_arrays(path, ARRAYS, toy(fill), MADE)
    return fill


def test_eight_writers_leave_one_whole_artifact(path):
    with ProcessPoolExecutor(8) as pool:
        fills = list(pool.map(_write, [(path, i / 10) for i in range(8)]))
    x = store.read_arrays(path, ARRAYS)["x"]
    assert x[0, 0] in np.array(fills, np.float32)
    assert (x == x[0, 0]).all()
    assert list(path.parent.iterdir()) == [path]


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


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("write", ["arrays", "bytes"])
def test_a_writer_removes_the_temporaries_of_dead_processes_only(path, write):
    dead, alive = dead_process(), os.getpid()
    (path.parent / f".{path.name}.{dead}.abcd.tmp").mkdir()
    (path.parent / f".{path.name}.{dead}.abcd.tmp" / "0").write_bytes(b"half")
    (path.parent / f".{path.name}.{dead}.efgh.tmp").write_bytes(b"half")
    kept = {
        f".{path.name}.{alive}.abcd.tmp",  # somebody is writing this artifact
        f".other.safetensors.{dead}.abcd.tmp",  # of another artifact
        f".{path.name}.5.{dead}.abcd.tmp",  # of another artifact, whose name begins with this one's
        f".{path.name}.tmp",
        f"{path.name}.{dead}.abcd.tmp",
    }
    for name in kept:
        (path.parent / name).write_bytes(b"")
    store.write_arrays(path, ARRAYS, toy(), MADE) if write == "arrays" else files.write_bytes(path, b"new")
    assert {p.name for p in path.parent.iterdir()} == kept | {path.name}


def test_a_killed_writers_temporary_names_its_process_and_the_next_writer_removes_it(path):
    code = (
        "import os, signal; from pathlib import Path; from tests.artifacts.test_store import *\n"
        f"with store.ArrayWriter(Path({str(path)!r}), ARRAYS, {{'x': (3, 2), 'y': (3,)}}) as out:\n"
        "    out.append('y', np.arange(3)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = path.read_bytes()
    process = subprocess.Popen([sys.executable, "-c", code])
    assert process.wait() == -signal.SIGKILL
    (left,) = path.parent.glob(".*")
    assert left.name.startswith(f".{path.name}.{process.pid}.")
    assert left.name.endswith(".tmp")
    assert path.read_bytes() == before
    store.write_arrays(path, ARRAYS, toy(), MADE)
    assert list(path.parent.iterdir()) == [path]


@st.composite
def chunkings(draw):
    """Number of rows and of columns, a seed, and where each of two arrays is cut."""
    rows, cols = draw(st.integers(0, 12)), draw(st.integers(0, 3))
    cuts = [sorted(draw(st.lists(st.integers(0, rows), max_size=6))) for _ in range(2)]
    return rows, cols, draw(st.integers(0, 2**32 - 1)), cuts


# No deadline: what takes its time is the disk, twice an example.
@settings(deadline=None)
@given(chunkings())
def test_a_writer_equals_write_arrays_byte_for_byte_in_any_chunking(chosen):
    rows, cols, seed, cuts = chosen
    rng = np.random.default_rng(seed)
    values = {"x": rng.uniform(-1, 1, (rows, cols)).astype(np.float32), "y": rng.integers(0, 9, rows)}
    with tempfile.TemporaryDirectory() as folder:
        # One artifact in two checkouts.
        whole, pieces = (Path(folder) / name / "artifacts" / "x.safetensors" for name in ("whole", "pieces"))
        sha = store.write_arrays(whole, ARRAYS, values, MADE)
        with store.ArrayWriter(pieces, ARRAYS, {name: array.shape for name, array in values.items()}) as out:
            # One array after the other in turns, as a stage fills them.
            parts = {name: np.split(array, cut) for (name, array), cut in zip(values.items(), cuts, strict=True)}
            while any(parts.values()):
                for name in parts:
                    if parts[name]:
                        out.append(name, parts[name].pop(0))
            assert out.finish(MADE) == sha
        assert pieces.read_bytes() == whole.read_bytes()
        back = store.read_arrays(pieces, ARRAYS)
        assert back.sha256 == sha
        for name, array in values.items():
            np.testing.assert_array_equal(back[name], array)


def test_a_writer_with_nothing_appended_writes_empty_arrays(tmp_path):
    path = tmp_path / "a.safetensors"
    with store.ArrayWriter(path, ARRAYS, {"x": (0, 2), "y": (0,)}) as out:
        out.finish(MADE)
    assert store.read_arrays(path, ARRAYS)["x"].shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("x", np.zeros((1, 2)), "seen: float64"),
        ("x", np.zeros((1, 2), ">f4"), "seen: >f4"),
        ("x", np.zeros((1, 3), np.float32), r"seen: float32 \(1, 3\)\n  expected: float32 \(rows, 2,\)"),
        ("x", np.zeros(2, np.float32), r"float32 \(2,\)"),
        ("x", np.zeros((4, 2), np.float32), "rows of x\n  seen: 4\n  expected: 3"),
        ("x", np.full((2, 2), [[0, 0], [0, np.inf]], np.float32), r"1 NaN or Inf, first at \[1, 1\]"),
        ("z", np.zeros(3), "columns\n  seen: z"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_and_nothing_is_left(tmp_path, name, part, message):
    with (
        pytest.raises(InvalidInput, match=message),
        store.ArrayWriter(tmp_path / "a.safetensors", ARRAYS, {"x": (3, 2), "y": (3,)}) as out,
    ):
        out.append(name, part)
    assert not list(tmp_path.iterdir())


def test_a_bad_row_is_named_by_its_place_in_the_whole_array(tmp_path):
    with store.ArrayWriter(tmp_path / "a.safetensors", ARRAYS, {"x": (3, 2), "y": (3,)}) as out:
        out.append("x", np.zeros((2, 2), np.float32))
        with pytest.raises(InvalidInput, match=r"first at \[2, 1\]"):
            out.append("x", np.array([[0, np.nan]], np.float32))


def test_too_few_rows_are_refused_and_the_old_artifact_stays(path):
    before = path.read_bytes()
    with store.ArrayWriter(path, ARRAYS, {"x": (3, 2), "y": (3,)}) as out:
        out.append("x", np.zeros((2, 2), np.float32))
        out.append("y", np.arange(3))
        with pytest.raises(InvalidInput, match=r"rows of x\n  seen: \{'x': 2\}\n  expected: \{'x': 3\}"):
            out.finish(MADE)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (3, 2)}, "columns of toy"),
        ({"x": (3, 2), "y": (4,)}, "row = 4\n  expected: row = 3"),
        ({"x": (3,), "y": (3,)}, "axes"),
    ],
)
def test_shapes_that_do_not_fit_the_schema_are_refused_before_anything_is_written(tmp_path, shapes, message):
    with pytest.raises(InvalidInput, match=message):
        store.ArrayWriter(tmp_path / "a.safetensors", ARRAYS, shapes)
    with pytest.raises(InvalidInput, match="at least one axis"):
        store.ArrayWriter(tmp_path / "a.safetensors", Schema("s", 1, {"s": Column("float32", (), "none")}), {"s": ()})


def test_nan_is_only_for_columns_that_may_be_undefined_and_inf_for_none(tmp_path):
    path = tmp_path / "a.safetensors"
    column = Column("float32", ("row",), "none", -1, 1)
    for undefined in (False, True):
        schema = Schema("gap", 1, {"x": Column("float32", ("row",), "none", -1, 1, undefined=undefined)})
        for bad in (np.inf, -np.inf):
            with pytest.raises(InvalidInput, match=r"1 NaN or Inf, first at \[2\]"):
                store.write_arrays(path, schema, {"x": np.array([0, 1, bad], np.float32)}, MADE)
        with pytest.raises(InvalidInput, match=r"seen: \[0.0, 2.0\]"):
            store.write_arrays(path, schema, {"x": np.array([0, 1, 2], np.float32)}, MADE)
    with pytest.raises(InvalidInput, match=r"1 NaN or Inf, first at \[1\]"):
        store.write_arrays(path, Schema("gap", 1, {"x": column}), {"x": np.array([0, np.nan], np.float32)}, MADE)
    assert not path.exists()
    store.write_arrays(path, schema, {"x": np.array([np.nan, 1, np.nan], np.float32)}, MADE)
    np.testing.assert_array_equal(store.read_arrays(path, schema)["x"], np.array([np.nan, 1, np.nan], np.float32))
    # The reader holds a file to the schema as strictly as the writer.
    with pytest.raises(InvalidInput, match=r"2 NaN or Inf, first at \[0\]"):
        store.read_arrays(path, Schema("gap", 1, {"x": column}))


def test_every_flipped_byte_is_refused(tmp_path):
    """200 seeded positions in the header (padding included) and 200 in the data, of a file with every dtype."""
    path = tmp_path / "a.safetensors"
    dtypes = ("uint8", "int16", "int64", "float16", "float32", "float64")
    schema = Schema("all", 1, {f"c_{d}": Column(d, ("row",), "none") for d in dtypes})
    store.write_arrays(path, schema, {f"c_{d}": np.arange(50).astype(d) for d in dtypes}, MADE)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    padding = [i for i in range(header) if whole[i:header].strip() == b""]
    assert padding
    positions = [*padding, *rng.integers(0, header, 200), *rng.integers(header, len(whole), 200)]
    for position in positions:
        for flip in (1 << int(rng.integers(8)), int(rng.integers(1, 256)), 0x29):  # 0x29 turns a space into a tab
            content = bytearray(whole)
            content[position] ^= flip
            path.write_bytes(content)
            with pytest.raises(InvalidInput):
                store.read_arrays(path, schema)
    path.write_bytes(whole)
    assert store.read_arrays(path, schema).provenance == MADE_A


def test_every_flipped_byte_of_a_table_is_refused(tmp_path):
    path = tmp_path / "t.json"
    rows = pd.DataFrame({"name": [f"n{i}" for i in range(20)], "value": np.linspace(1e-300, 99, 20)})
    store.write_table(path, TABLE, rows, MADE)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 400):
        content = bytearray(whole)
        content[position] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        with pytest.raises(InvalidInput):
            store.read_table(path, TABLE)
    for end in rng.integers(0, len(whole), 50):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidInput):
            store.read_table(path, TABLE)
    path.write_bytes(whole)
    assert len(store.read_table(path, TABLE).rows) == 20


def test_every_truncation_and_any_tail_is_refused(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for end in [0, 1, 7, 8, 9, *rng.integers(0, len(whole), 200), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidInput, match="dvc repro"):
            store.read_arrays(path, ARRAYS)
    path.write_bytes(whole + b"\0")
    with pytest.raises(InvalidInput, match="dvc repro"):
        store.read_arrays(path, ARRAYS)


@pytest.mark.parametrize(
    ("there", "here"),
    [("p/cka/mae/dino", "p/cka/mae/moco_v3"), ("p/cka/mae/dino", "q/cka/mae/dino"), ("p/knn/mae", "p/cka/mae"), ("p/a", "p/b")],
)
def test_an_artifact_at_the_path_of_another_is_refused(tmp_path, there, here):
    rows = pd.DataFrame({"name": ["a"], "value": [1.0]})
    for ending, read, schema in ((".safetensors", store.read_arrays, ARRAYS), (".json", store.read_table, TABLE)):
        source, target = (tmp_path / "artifacts" / f"{name}{ending}" for name in (there, here))
        if ending == ".json":
            store.write_table(source, schema, rows, MADE)
        else:
            store.write_arrays(source, schema, toy(), MADE)
        assert read(source, schema).provenance.artifact == there
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        with pytest.raises(InvalidInput, match=f"seen: {there}\n  expected: {here}\n  next: remove the file"):
            read(target, schema)


def test_an_artifact_is_the_same_in_every_checkout(tmp_path):
    one, other = (tmp_path / name / "artifacts" / "p" / "a.safetensors" for name in ("one", "other"))
    store.write_arrays(one, ARRAYS, toy(), MADE)
    other.parent.mkdir(parents=True)
    other.write_bytes(one.read_bytes())
    assert store.read_arrays(other, ARRAYS).provenance.artifact == "p/a"


def rewrite_header(path, change):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    artifact = json.loads(entries["__metadata__"]["artifact"])
    change(artifact)
    entries["__metadata__"]["artifact"] = json.dumps(artifact, sort_keys=True)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["provenance"].update(parameters="q"), "sha256"),
        (lambda a: a["provenance"].update(inputs={"banks/a": "0" * 64}), "sha256"),
        (lambda a: a["provenance"].update(sprache="de"), "provenance"),
        (lambda a: a["provenance"].pop("code"), "provenance"),
        (lambda a: a.pop("provenance"), "provenance"),
        (lambda a: a.pop("sha256"), "sha256"),
        (lambda a: a.update(more="of it"), "header"),
        (lambda a: a.update(version=2), "toy version 2"),
    ],
)
def test_an_edited_header_is_refused(path, change, message):
    rewrite_header(path, lambda _: None)
    assert store.read_arrays(path, ARRAYS).provenance == MADE_A
    rewrite_header(path, change)
    with pytest.raises(InvalidInput, match=message):
        store.read_arrays(path, ARRAYS)


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '"x"', "3", '{"kind": "toy"}', "NaN", '{"kind": "toy", "version": 1}'])
def test_a_header_that_is_no_artifacts_is_refused(path, text):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length]) | {"__metadata__": {"artifact": text}}
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    with pytest.raises(InvalidInput, match=r"header|provenance"):
        store.read_arrays(path, ARRAYS)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"artifact": {}, "rows": []}', "[" * 100_000, "\ufeff{}", '{"rows": NaN}', "\x00{"],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="dvc repro"):
        store.read_table(path, TABLE)


def forge(path, schema, records):
    """A table whose hash is right, whatever the rows are."""
    made = MADE.model_copy(update={"artifact": path.stem})
    sha = store._table_digest(schema, records, made)
    path.write_bytes(store._table_bytes(schema, made, sha, records))


@pytest.mark.parametrize(
    "records",
    [
        [{"name": "a", "value": "much"}],
        [{"name": "a", "value": 200.0}],
        [{"name": "a", "value": None}],
        [{"name": 3, "value": 1.0}],
        [{"name": "a"}],
        [{"name": "a", "value": 1.0, "more": 2}],
        [3],
        7,
    ],
)
def test_rows_that_do_not_fit_the_schema_are_refused_though_their_hash_is_right(tmp_path, records):
    path = tmp_path / "t.json"
    forge(path, TABLE, [{"name": "a", "value": 1.0}])
    assert store.read_table(path, TABLE).rows["value"].tolist() == [1.0]
    forge(path, TABLE, records)
    with pytest.raises(InvalidInput):
        store.read_table(path, TABLE)


def test_a_table_keeps_every_bit_and_null_for_the_undefined(tmp_path):
    path = tmp_path / "t.json"
    schema = Schema(
        "bits", 1, {"x": Column("float64", ("row",), "none", undefined=True), "n": Column("int64", ("row",), "none")}
    )
    values = np.array([1.2345678901234567e-10, np.pi * 1e-300, 5e-324, -0.1, np.nan, 1.7976931348623157e308])
    store.write_table(path, schema, pd.DataFrame({"x": values, "n": np.arange(6) + 2**62}), MADE)
    rows = store.read_table(path, schema).rows
    np.testing.assert_array_equal(rows["x"].to_numpy(), values)
    assert rows["n"].tolist() == [2**62 + i for i in range(6)]
    assert rows.dtypes.astype(str).tolist() == ["float64", "int64"]
    empty = pd.DataFrame({"x": values[:0], "n": np.arange(0)})
    store.write_table(path, schema, empty, MADE)
    assert store.read_table(path, schema).rows.dtypes.astype(str).tolist() == ["float64", "int64"]


def test_text_columns_take_text_only(tmp_path):
    with pytest.raises(InvalidInput, match="name\n  seen: nan\n  expected: text"):
        store.write_table(tmp_path / "t.json", TABLE, pd.DataFrame({"name": ["a", None], "value": [1.0, 2.0]}), MADE)
    assert not list(tmp_path.iterdir())


def test_arrays_are_mapped_read_only_and_not_loaded(tmp_path):
    path = tmp_path / "w.safetensors"
    rows = 1 << 16  # of 800 bytes: 50 MiB, three of the pieces that are checked one by one
    with store.ArrayWriter(path, WIDE, {"x": (rows, 100)}) as out:
        for _ in range(16):
            out.append("x", np.ones((rows // 16, 100)))
        out.finish(MADE)
    tracemalloc.start()
    back = store.read_arrays(path, WIDE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(back["x"], np.memmap)
    assert not back["x"].flags.writeable
    assert back["x"].flags.aligned
    assert peak < 0.8 * back["x"].nbytes


def test_what_was_read_outlives_the_file_being_replaced(path):
    back = store.read_arrays(path, ARRAYS)
    store.write_arrays(path, ARRAYS, toy(0.25), MADE)
    assert (back["x"] == 0.5).all()
    path.unlink()
    assert (back["x"] == 0.5).all()


def test_every_kind_of_artifact_can_be_stored():
    names = "AGREE BANK CKA CURVE DETECT DRIFT EMBEDDINGS FINAL INVARIANCE KNN LINE PATH PIXELS PROBE SEGMENT SIMILARITY"
    names += " LOSS SAMPLES SUMMARY SWEEP TRACE"
    known = {name: value for name, value in vars(tables).items() if isinstance(value, Schema)}
    assert set(names.split()) == set(known)
    for schema in known.values():
        for column in schema.columns.values():
            assert column.dtype in {*TAGS, "str"}
            assert column.axes
    assert len({schema.kind for schema in known.values()}) == len(known)
    assert tables.unpack(tables.pack(["0.norm1", "äö"])) == ["0.norm1", "äö"]
