"""Writing a .safetensors artifact piece by piece."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput
from harness.artifacts.header import header_bytes, identity, stamped
from harness.artifacts.provenance import Provenance, digest
from harness.artifacts.schema import Schema, check_range, check_shapes


class ArrayWriter:
    """A .safetensors artifact written piece by piece along each array's first axis, so that memory does not grow with it.

    Use as a context manager; the file appears, whole, at finish(), and not at all otherwise. Until then its parts lie in the
    folder .<name>.<process>.<random>.tmp beside it. The next writer of the same artifact removes such a folder if the process
    that made it is no longer alive on this machine, as after SIGKILL.
    """

    def __init__(self, path: Path, schema: Schema, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.schema = path, schema
        check_shapes(path, schema, shapes)
        flat = [name for name, shape in shapes.items() if not shape]
        if flat:
            raise InvalidInput(path, field=flat[0], seen="shape ()", expected="at least one axis")
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self._hashes = {name: hashlib.sha256() for name in shapes}
        self._filled = dict.fromkeys(shapes, 0)
        self._parts: dict[str, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ArrayWriter:
        with files.environment(self.path, 0):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.sweep(self.path)
            self._folder = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=files.prefix(self.path), suffix=".tmp")
        self._parts = {name: Path(self._folder.name) / str(i) for i, name in enumerate(self._shapes)}
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add rows to an array. Raises InvalidInput on another dtype, width, range or a NaN; BadEnvironment on a full disk."""
        if name not in self._shapes:
            raise InvalidInput(self.path, field="columns", seen=name, expected=sorted(self._shapes))
        column, shape = self.schema.columns[name], self._shapes[name]
        if part.dtype != np.dtype(column.dtype) or part.shape[1:] != shape[1:]:
            seen, expected = f"{part.dtype} {part.shape}", f"{column.dtype} (rows, {str(shape[1:])[1:]}"
            raise InvalidInput(self.path, field=name, seen=seen, expected=expected)
        filled = self._filled[name] + len(part)
        if filled > shape[0]:
            raise InvalidInput(self.path, field=f"rows of {name}", seen=filled, expected=shape[0])
        check_range(self.path, name, column, part, self._filled[name])
        content = np.ascontiguousarray(part).tobytes()
        with files.environment(self.path, len(content)), self._parts[name].open("ab") as file:
            file.write(content)
        self._hashes[name].update(content)
        self._filled[name] = filled

    def finish(self, provenance: Provenance) -> str:
        """Put the arrays together under their header; return the artifact's SHA-256."""
        short = {name: n for name, n in self._filled.items() if n != self._shapes[name][0]}
        if short:
            expected = {name: self._shapes[name][0] for name in short}
            raise InvalidInput(self.path, field=f"rows of {', '.join(short)}", seen=short, expected=expected)
        content = {
            name: [str(np.dtype(self.schema.columns[name].dtype)), list(shape), self._hashes[name].hexdigest()]
            for name, shape in self._shapes.items()
        }
        provenance = stamped(self.path, provenance)
        sha = digest(identity(self.schema, provenance, content))
        assert self._folder is not None
        whole = Path(self._folder.name) / "whole"
        header = header_bytes(self.schema, self._shapes, provenance, sha)
        parts = [part for part in self._parts.values() if part.exists()]
        with files.environment(self.path, len(header) + sum(part.stat().st_size for part in parts)), whole.open("wb") as file:
            file.write(header)
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 22)
            files.publish(file, whole, self.path)
        return sha
