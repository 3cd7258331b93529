"""Reading params.yaml: YAML to checked parameters. Everything is checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.params.checks import misfits, refuse_embeddings, refuse_files, refuse_other_names, refuse_other_recipe
from harness.params.models import start_of
from harness.params.params import Params
from harness.params.wording import explain, nearest, pick


def load_params(path: Path) -> Params:
    """Read and check params.yaml. Raises InvalidInput with the key, the value and, for an unknown key, the nearest one."""
    if not path.is_file():
        raise MissingArtifact(path, "there are no parameters", next_step="run from the project's root")
    try:
        with path.open("rb") as file:
            raw = yaml.load(file, Loader=UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # ValueError: text that looks like a date or a number and is none.
        raise InvalidInput(path, field="YAML", seen=" ".join(str(error).split()), expected="valid YAML") from error
    return check_params(raw, str(path))


def check_params(raw: Any, where: str) -> Params:
    """Params from plain values, with references that exist and sizes that go together."""
    try:
        plain = tuples(raw)
        raw = _named(plain, where)
        raw = _with_replicates(raw) if isinstance(raw, Mapping) else raw
    except RecursionError as error:
        raise InvalidInput(where, field="YAML", seen="a value that contains itself", expected="plain values") from error
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise explain(error, raw, where, Params) from error
    for name, profile in params.profiles.items():
        refuse_other_names(params, name, profile)
    for name, model in params.models.items():
        if name != start_of(name):
            expected = f"another name: {name} is {start_of(name)} when it is fine-tuned"
            raise InvalidInput(where, field="models", seen=name, expected=expected)
        for at in model.weights:
            pick(params.profiles, at, f"models.{name}.weights")
            if model.architecture is not None:
                pick(params.profiles[at].architectures, model.architecture, f"models.{name}.architecture")
            if name not in params.profiles[at].models:
                expected = f"{name} among profiles.{at}.models, where it has weights, or no weights there"
                raise InvalidInput(where, field=f"models.{name}.weights.{at}", seen="a model left out", expected=expected)
    refuse_files(params)
    refuse_embeddings(params)
    for name, model in params.models.items():
        if model.replicate_of is not None:
            refuse_other_recipe(params, name, model, pick(params.models, model.replicate_of, f"models.{name}.replicate_of"))
    for name, profile_params in params.profiles.items():
        for model_name in profile_params.anchors:
            pick(dict.fromkeys(profile_params.models, 0), model_name, f"profiles.{name}.anchors")
        for key, seen, expected in misfits(profile_params):
            raise InvalidInput(where, field=f"profiles.{name}.{key}", seen=seen, expected=expected)
    _refuse_another_profile(plain["profile"], plain["profiles"], where)
    return params


def _named(raw: Any, where: str) -> Any:
    """Replace the profile to measure by its name. The file has an alias of it, since dvc.yaml cannot look up a name."""
    chosen = raw.get("profile") if isinstance(raw, Mapping) else None
    if chosen is None or not isinstance(raw.get("profiles"), Mapping):
        return raw
    if isinstance(chosen, Mapping) and chosen.get("name") in raw["profiles"]:
        return raw | {"profile": chosen["name"]}
    names = [str(name) for name in raw["profiles"]]
    seen = chosen if isinstance(chosen, str) else "none of the profiles"
    expected = f"an alias of a profile: *{nearest(seen, names) if isinstance(chosen, str) else ', *'.join(names)}"
    raise InvalidInput(where, field="profile", seen=seen, expected=expected)


def _refuse_another_profile(chosen: Any, profiles: Mapping[str, Any], where: str) -> None:
    """Refuse a `profile` that differs from the profile of its name: one of two copies was edited."""
    if not isinstance(chosen, Mapping):
        return
    name = chosen["name"]
    for key, value in chosen.items():
        if profiles[name].get(key) != value:
            expected = f"the {key} that profiles.{name} has, by the alias profile: *{name}"
            raise InvalidInput(where, field=f"profile.{key}", seen=f"other {key}", expected=expected)


def _with_replicates(raw: Any) -> Any:
    """Give each model with `replicate_of` the fields of that model, and its recipe with another seed."""
    models, profiles = raw.get("models"), raw.get("profiles")
    if not isinstance(models, Mapping) or not isinstance(profiles, Mapping):
        return raw
    whole = dict(models)
    for name, model in models.items():
        if not isinstance(model, Mapping) or set(model) != {"replicate_of", "seed"}:
            continue
        first = pick(models, str(model["replicate_of"]), f"models.{name}.replicate_of")
        known = first.get("weights") if isinstance(first, Mapping) else None
        at = [p for p, profile in profiles.items() if isinstance(profile, Mapping) and name in (profile.get("models") or ())]
        if not isinstance(known, Mapping):
            continue
        weights = {p: {**known[p], "seed": model["seed"]} for p in at if isinstance(known.get(p), Mapping)}
        shared = {key: first[key] for key in ("family", "architecture") if key in first}
        whole[name] = shared | {"replicate_of": model["replicate_of"], "weights": weights}
    return raw | {"models": whole}


class UniqueKeys(yaml.SafeLoader):
    """Duplicate keys are an error; YAML silently keeps the last one.

    A key that a merge (<<) brings may be overridden.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises ConstructorError for a key that stands twice."""
        keys: list[Any] = []
        for key_node, _ in node.value:
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = key_node.value if merges else self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


def tuples(value: Any) -> Any:
    """YAML has no tuples and strict validation takes no lists for them."""
    if isinstance(value, list):
        return tuple(tuples(v) for v in value)
    return {k: tuples(v) for k, v in value.items()} if isinstance(value, dict) else value
