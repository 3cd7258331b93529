"""A folder of images out of the archive that it is published as."""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from lzma import LZMAError
from pathlib import Path

from harness.artifacts.errors import InvalidInput


def unpack(archive: Path, folder: Path) -> None:
    """Make `folder` of the folder of that name in a tar archive, whole or not at all, and remove the archive.

    Members that lie or point outside, devices and the like are refused.
    Raises InvalidInput for an archive that is broken, unsafe, or without such a folder.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(archive) as file:
            file.extractall(part, filter="data")
        held = sorted(path.name for path in part.iterdir())
        if folder.name not in held:
            raise InvalidInput(archive, field="archive", seen=held[:10], expected=f"a folder {folder.name}")
        os.replace(part / folder.name, folder)
    except (tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        step = f"remove {archive} and fetch again"
        raise InvalidInput(archive, field="archive", seen=error, expected="a whole tar archive", next_step=step) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    archive.unlink()
