"""Image files of one split: the first folder below the split is the class, at whatever depth its files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.artifacts.errors import InvalidInput


@dataclass(frozen=True)
class Folder:
    """samples: path and class number of each image file, in the order of their paths. classes: names, in order of their number.

    left_out: files below the split that are no image files by their ending, are hidden, or lie beside the class folders.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]

    def report(self) -> str:
        """One line that names the files left out."""
        more = f" and {len(self.left_out) - 5} more" if len(self.left_out) > 5 else ""
        names = ", ".join(self.left_out[:5])
        return f"{self.root}: {len(self.left_out)} files left out, which are no image files of a class: {names}{more}"


def classes_of(root: Path) -> tuple[str, ...]:
    """Names of the class folders of a split, in order of their class number. Hidden folders are left out."""
    return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name)))


def read(root: Path, split: str) -> Folder:
    """The image files of a split and their classes, as torchvision.datasets.ImageFolder reads them.

    Every file counts whose ending Pillow can open. Hidden files and folders are left out.
    Raises InvalidInput where there is no class folder, a class has no image file, or the only class is a folder of folders,
    which is more likely one level too many than a class.
    """
    classes = classes_of(root)
    if not classes:
        files = sum(1 for entry in root.iterdir() if _is_image(entry.name))
        seen = f"{files} image files and no folders" if files else "no folders"
        raise InvalidInput(root, field=f"classes of {split}", seen=seen, expected="a folder per class")
    left_out = [entry.name for entry in root.iterdir() if entry.name not in classes]
    samples: list[tuple[str, int]] = []
    for number, name in enumerate(classes):
        images, others = _files(root, name)
        if not images:
            raise InvalidInput(
                root / name,
                field=f"images of {split}",
                seen=f"none; {len(others)} other files {others[:3]}",
                expected="at least one image file in each class folder",
                next_step="remove the folder, or give its files the ending of their image format",
            )
        left_out += others
        samples += [(path, number) for path in images]
    _refuse_one_level_too_many(root, split, classes, samples)
    return Folder(root, classes, tuple(samples), tuple(sorted(left_out)))


def _files(root: Path, name: str) -> tuple[list[str], list[str]]:
    """Paths of the class folder's image files; names, below the root, of its other files."""
    images, others = [], []
    # os.walk tells files from folders without asking for each file, of which ImageNet has 1.3 million.
    for folder, _, files in os.walk(root / name, followlinks=True):
        hidden = any(map(_hidden, Path(folder).relative_to(root).parts))
        for file in files:
            path = os.path.join(folder, file)
            if _is_image(file) and not hidden:
                images.append(path)
            else:
                others.append(os.path.relpath(path, root))
    return sorted(images), sorted(others)


def _refuse_one_level_too_many(root: Path, split: str, classes: tuple[str, ...], samples: list[tuple[str, int]]) -> None:
    if len(classes) > 1:
        return
    inner = sorted({Path(path).relative_to(root / classes[0]).parts[0] for path, _ in samples})
    if len(inner) > 1 and all((root / classes[0] / name).is_dir() for name in inner):
        raise InvalidInput(
            root,
            field=f"classes of {split}",
            seen=f"one folder, {classes[0]}, which holds {len(inner)} folders: {inner[:5]}",
            expected=f"two classes or more below {root}",
            next_step=f"if these {len(inner)} folders are the classes, set data.{split}_split to {root.name}/{classes[0]}",
        )


def _hidden(name: str) -> bool:
    return name.startswith(".")


@cache
def _endings() -> frozenset[str]:
    from PIL import Image

    # Pillow knows more endings than it can open: it only writes PDF.
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _endings() and not _hidden(name)
