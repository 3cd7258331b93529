"""Words for what is wrong in params.yaml: the key, what stands there, what was expected, and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from harness.artifacts.errors import InvalidInput
from harness.artifacts.strict import Strict

T = TypeVar("T")

# Names that a message lists.
MANY = 24


def pick(options: Mapping[str, T], name: str, where: str) -> T:
    """The option of a name. Raises InvalidInput at the field `where` with the nearest names if there is none."""
    if name not in options:
        raise InvalidInput("params.yaml", field=where, seen=name, expected=nearest(name, options))
    return options[name]


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint: the names closest to a misspelt one, or all of them, of many the first."""
    names = sorted(options)
    close = difflib.get_close_matches(name, names, n=3)
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return f"{' or '.join(close)}?" if close else f"one of {', '.join(names[:MANY])}{more}"


def explain(error: ValidationError, raw: Any, where: str, root: type[Strict]) -> InvalidInput:
    """The first error of a validation against the schema `root`, in the words of the file `where`."""
    # A slip in a required key leaves two errors, of which what stands there says more than what is missing.
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    location, kind, facts = first["loc"], first["type"], first.get("ctx", {})
    seen, expected = f"{first['input']!r}", first["msg"]
    if kind == "extra_forbidden":
        seen, expected = str(location[-1]), nearest(str(location[-1]), _fields(location[:-1], root))
    elif kind == "missing":
        seen = "nothing"
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, facts["discriminator"].strip("'"))
        seen = repr(facts["tag"]) if "tag" in facts else "nothing"
        expected = f"one of {facts['expected_tags']}" if "tag" in facts else "Field required"
    return InvalidInput(where, field=_key(location, raw), seen=seen[:200], expected=expected)


def _key(location: tuple[int | str, ...], raw: Any) -> str:
    """The key in the file at an error's location, which also has names of alternatives that are no keys."""
    key: list[str] = []
    alternative = None
    for i, part in enumerate(location):
        if part == alternative:
            alternative = None
            continue
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[part]
        elif isinstance(raw, tuple) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
        elif i < len(location) - 1 or part == "[key]":
            continue
        key.append(str(part))
        # What tells the alternative comes in the location before the alternative's own keys, of which one may be called so.
        alternative = raw.get("kind", raw.get("objective")) if isinstance(raw, Mapping) else None
    return ".".join(key) or "the whole file"


def _fields(location: Iterable[int | str], root: type[Strict]) -> set[str]:
    """The keys that may stand at an error's location."""
    kinds: set[type[Strict]] = {root}
    for part in location:
        inner = {k for kind in kinds if part in kind.model_fields for k in _kinds(kind.model_fields[str(part)].annotation)}
        # The name of an alternative: a class, or the value of the literal field that tells it.
        named = {k for k in kinds if k.__name__ == part or part in _tags(k)}
        kinds = inner or named or kinds
    return {name for kind in kinds for name in kind.model_fields}


def _kinds(annotation: Any) -> set[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return {annotation}
    return {kind for argument in get_args(annotation) for kind in _kinds(argument)}


def _tags(kind: type[Strict]) -> set[Any]:
    return {value for field in kind.model_fields.values() for value in get_args(field.annotation) if isinstance(value, str)}
