"""Files written whole or not at all, whatever kills the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.artifacts.errors import BadEnvironment


def write_bytes(path: Path, content: bytes) -> None:
    """Replace path by content, as `written` does. Raises BadEnvironment."""
    with written(path, len(content)) as file:
        file.write(content)


@contextlib.contextmanager
def written(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file to write `size` bytes into, which replaces path when the context ends: temporary file in the same folder, fsync,
    rename. An error or a crash leaves the old file whole.

    The temporary file is .<name>.<process>.<random>.tmp; the next writer of path removes it if that process is no longer alive.
    Raises BadEnvironment.
    """
    with environment(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix(path), suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                publish(file, Path(name), path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def publish(file: BinaryIO, temporary: Path, path: Path) -> None:
    """Let a finished temporary file take the artifact's place, on the disk before in the folder."""
    file.flush()
    os.fsync(file.fileno())
    # Temporary files are private; artifacts are for everyone the folder is for.
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def prefix(path: Path) -> str:
    """How the temporary files of this process for `path` begin."""
    return f".{path.name}.{os.getpid()}."


def sweep(path: Path) -> None:
    """Remove what writers of this artifact left that were killed; those alive keep theirs."""
    temporary = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.[^.]+\.tmp")
    for left in path.parent.iterdir():
        owner = temporary.fullmatch(left.name)
        if owner is None or _alive(int(owner[1])):
            continue
        # Two writers may sweep at once: what the other one removed is not an error.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def environment(path: Path, size: int) -> Iterator[None]:
    """Tell what the machine refuses: a full disk or quota (`size` bytes were to be written), or a folder that is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
            raise BadEnvironment(
                path,
                seen=f"the disk is full or the file too large: {error.strerror}, {free} bytes free",
                expected=f"room for {size} bytes",
                next_step="free space or raise the quota, then run dvc repro",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            seen = f"not writable: {error.strerror}"
            raise BadEnvironment(path.parent, seen=seen, expected="a writable folder") from error
        raise BadEnvironment(path, seen=f"{type(error).__name__}: {error}", expected="to write the file") from error
