"""Judge: one command from a file of weights to verdicts. It writes the model's entry, measures it, and decides."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import yaml
from torch import nn

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.models import released
from harness.models.build import build
from harness.models.fetch import fetch_all
from harness.models.tokens import depth_of
from harness.params.load import UniqueKeys, check_params, load_params
from harness.params.models import Released
from harness.params.profile import Architecture
from harness.stages.place import Place

PARAMS = Path("params.yaml")
# Tried in this order where the command names neither a layout nor a key nor a prefix.
_LAYOUTS = ("plain", "mae", "moco_v3", "msn")
_BY_HAND = "write the entry by hand: docs/judge-a-model.md"


def run(place: Place, weights: str, architecture: str | None, name: str | None, key: str | None, prefix: str | None) -> int:
    """Write the model's entry into params.yaml, run `dvc repro` and `pytest claims --model`; return the exit code.

    Weights of timm are downloaded first.

    weights: a file, or the name of pretrained weights of timm, such as vit_small_patch16_224.dino. architecture: one of the
    profile's, or a timm network; of weights of timm their own. name: of the entry, by default the file's. key, prefix: where in
    the file the network lies, if it is in none of the known layouts.
    Raises InvalidInput where the weights do not fit, an entry of that name says something else, or params.yaml names another
    profile; MissingArtifact where there is no such file.
    """
    if place.profile != place.params.profile:
        expected = f"profile: *{place.profile}, since dvc measures the profile that it names"
        raise InvalidInput(PARAMS, field="profile", seen=f"*{place.params.profile}", expected=expected)
    architecture, known = _architecture(place, weights, architecture)
    network = build(known.name, **known.options)
    source = _source(weights, network, key, prefix)
    name = name or _name(weights)
    # Masks are read out of patch tokens where the profile does so with others.
    lists = ["models", "segmented"] if place.settings.segmented and _has_patch_tokens(network) else ["models"]
    _register(place, name, architecture, known, source, lists)
    named = " and ".join(f"profiles.{place.profile}.{field}" for field in lists)
    print(f"params.yaml: models.{name}, and among {named}", file=sys.stderr, flush=True)
    if "timm" in source:
        fetch_all(load_params(PARAMS), place.profile, [name])
    measured = _measure()
    if measured:
        return measured
    decide = ["-m", "pytest", "claims", "--source", place.profile, "--model", name, "--verdicts", _verdicts(place, name)]
    return subprocess.run([sys.executable, *decide], check=False).returncode


def judge(
    weights: Path | str,
    architecture: str | None = None,
    *,
    name: str | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> list[dict[str, Any]]:
    """As `python -m harness judge`, in the project's folder: the records of the model's verdicts, of its family first.

    Raises as `run` does, and MissingArtifact where measuring or deciding failed, after its own message.
    """
    params = load_params(PARAMS)
    place, name = Place(params, params.profile), name or _name(str(weights))
    code = run(place, str(weights), architecture, name, key, prefix)
    path = Path(_verdicts(place, name))
    if not path.is_file():
        raise MissingArtifact(path, f"no verdicts: exit code {code}", next_step="read the message above")
    records: list[dict[str, Any]] = json.loads(path.read_bytes())
    return sorted(records, key=lambda record: record["rank"] != "main")


def _name(weights: str) -> str:
    """What an entry is called by default: as the file without its ending, or as timm's weights."""
    return re.sub(r"\W+", "_", Path(weights).stem if Path(weights).is_file() else weights).strip("_").lower()


def _measure() -> int:
    """Run `dvc repro`, print the stages that it runs and not those that it skips, and return its exit code."""
    process = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], stdout=subprocess.PIPE, text=True)
    with process:
        for line in process.stdout or ():
            if "didn't change, skipping" not in line and line.strip():
                print(line, end="", file=sys.stderr, flush=True)
    return process.returncode


def _verdicts(place: Place, name: str) -> str:
    return str(Path("artifacts", place.profile, "judged", f"{name}.json"))


def _architecture(place: Place, weights: str, architecture: str | None) -> tuple[str, Architecture]:
    """The key under the profile's architectures, and the network: by default that of weights of timm."""
    known = place.settings.architectures
    if architecture is None:
        if Path(weights).is_file() or not timm.is_model(weights.partition(".")[0]):
            expected = f"one of {', '.join(known)}, or a timm network"
            raise InvalidInput("command line", field="--architecture", seen="nothing", expected=expected)
        architecture = weights.partition(".")[0]
    if architecture in known:
        return architecture, known[architecture]
    # timm's own name may be the profile's under another one.
    for key, network in known.items():
        if network.name == architecture:
            return key, network
    return architecture, Architecture(name=architecture, options={})


def _has_patch_tokens(network: nn.Module) -> bool:
    try:
        return depth_of(network) > 0
    except InvalidInput:
        return False


def _source(weights: str, network: nn.Module, key: str | None, prefix: str | None) -> dict[str, Any]:
    """The entry's weights: a file that fits the network, or a name of timm's."""
    path = Path(weights)
    if not path.is_file():
        if timm.is_model_pretrained(weights):
            return {"timm": weights}
        raise MissingArtifact(path, "no such file, and no name of timm's pretrained weights", next_step="check the path")
    known = {"file": weights, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    told = {name: value for name, value in (("key", key), ("prefix", prefix)) if value}
    errors = []
    for place in [told] if told else [{"layout": layout} for layout in _LAYOUTS]:
        try:
            released.load(Released(**{**known, **place}), network)
        except InvalidInput as error:
            errors.append(error)
        else:
            return {"file": known["file"], **place, "sha256": known["sha256"]}
    # That of the plain layout says where else in the file the network lies.
    raise errors[0]


def _register(
    place: Place, name: str, architecture: str, network: Architecture, source: Mapping[str, Any], lists: Sequence[str]
) -> None:
    """Write the entry into params.yaml, unless it is there already. Everything else in the file stays as it is.

    lists: of the profile, in which the model is named.
    Raises InvalidInput where another entry has the name, and where the file is not laid out as it ships.
    """
    profile = place.profile
    entry = {"architecture": architecture, "weights": {profile: dict(source)}}
    text = PARAMS.read_text()
    raw = yaml.load(text, Loader=UniqueKeys)
    if name in raw["models"]:
        if raw["models"][name] == entry:
            return
        expected = "another --name, or the same weights"
        raise InvalidInput(PARAMS, field=f"models.{name}", seen="an entry that says something else", expected=expected)
    lines = text.splitlines(keepends=True)
    at = _end_of(lines, "models:")
    lines.insert(at, f"  {name}: {_flow(entry)}\n")
    start = _line(lines, 0, f"  {profile}:")
    wanted = raw
    wanted["models"][name] = entry
    for field in lists:
        listed = _line(lines, start, f"{field}: [", whole=False)
        lines[listed] = re.sub(r"\]", f", {name}]", lines[listed], count=1)
        wanted["profiles"][profile][field].append(name)
        # The profile to measure is an alias of the edited one.
        wanted["profile"][field] = wanted["profiles"][profile][field]
    if architecture not in place.settings.architectures:
        added = network.model_dump(exclude_defaults=True)
        lines.insert(_line(lines, start, "architectures:") + 1, f"      {architecture}: {_flow(added)}\n")
        wanted["profiles"][profile]["architectures"][architecture] = added
    written = "".join(lines)
    if yaml.load(written, Loader=UniqueKeys) != wanted:
        raise InvalidInput(PARAMS, field="layout", seen="other than it ships", expected=_BY_HAND)
    check_params(yaml.load(written, Loader=UniqueKeys), str(PARAMS))
    files.write_bytes(PARAMS, written.encode())


def _end_of(lines: Sequence[str], key: str) -> int:
    """Where a top-level key's last line ends, comments of the next key not among it."""
    start = _line(lines, 0, key)
    end = next((i for i in range(start + 1, len(lines)) if re.match(r"\w", lines[i])), len(lines))
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
        end -= 1
    return end


def _line(lines: Sequence[str], start: int, text: str, *, whole: bool = True) -> int:
    """The first line from `start` on that is the text, or begins with it after its indent."""
    for i in range(start, len(lines)):
        line = lines[i].rstrip()
        if (line == text or line.strip() == text) if whole else line.strip().startswith(text):
            return i
    raise InvalidInput(PARAMS, field="layout", seen=f"no line {text!r}", expected=_BY_HAND)


def _flow(value: Mapping[str, Any]) -> str:
    """A mapping on one line, as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip()
