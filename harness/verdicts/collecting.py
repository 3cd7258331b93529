"""Collecting: each claim once for each source, and the fixtures that name the source, the inputs and the margin."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.errors import HarnessError, InvalidInput
from harness.evidence.claim import Claim, Inputs
from harness.params.wording import nearest
from harness.verdicts.session import INPUTS, SESSION, ClaimSession, claim_of, id_of, source_of

if TYPE_CHECKING:
    from harness.evidence.panel import Panel

# In the place of a model where none is judged.
NO_MODEL = "nobody"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each claim once for each source, and those about a model for each that is judged."""
    stated = claim_of(metafunc.function)
    if stated is None:
        return
    metafunc.parametrize("source", metafunc.config.stash[SESSION].sources, indirect=True)
    if stated.about == "model":
        metafunc.parametrize("model", list(dict.fromkeys(metafunc.config.getoption("model") or [NO_MODEL])))


@pytest.fixture
def source(request: pytest.FixtureRequest) -> str:
    """What a claim is decided from: "published" or a profile's name. Raises InvalidInput outside of claims."""
    if not hasattr(request, "param"):
        raise InvalidInput(request.node.nodeid, field="source", seen="a test", expected="a claim: use it under @claim")
    name: str = request.param
    return name


@pytest.fixture
def inputs(request: pytest.FixtureRequest, source: str) -> Inputs:
    """Where fixtures note the artifacts that they open."""
    opened: Inputs = request.node.stash.setdefault(INPUTS, Inputs(source))
    return opened


@pytest.fixture
def panel() -> Panel | None:
    """The runs that a claim about methods is decided on. A conftest overrides it; without one each claim is decided once."""
    return None


@pytest.fixture
def margin(request: pytest.FixtureRequest) -> float:
    """The claim's margin. Raises InvalidInput when it states none."""
    stated = claim_of(request.function)
    if stated is None or stated.margin is None:
        raise InvalidInput(request.node.nodeid, field="margin", seen="none", expected="a margin in the claim's decorator")
    return stated.margin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse two claims of one id, reversals of no claim and --claim of no claim, before anything is deselected.

    -k selects a claim by its id too.
    """
    claims = config.stash[SESSION]
    try:
        _check(session, claims, items)
        selected = _selected(config.getoption("claim") or [], items)
    except (HarnessError, pytest.UsageError) as error:
        if not hasattr(config, "workerinput"):
            raise pytest.UsageError(str(error)) from error
        # A worker that raises is replaced by another that raises: the controller must say it.
        claims.problem = str(error)
        items.clear()
        selected = items
    # With --model nothing but claims about it, without it all but those.
    judging = bool(config.getoption("model"))
    about_models = set()
    for item, stated in _claims_of(selected):
        item.extra_keyword_matches.add(stated.id)
        if stated.about == "model":
            about_models.add(item)
    items[:] = [item for item in selected if (item in about_models) is judging]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the collected claims; an xdist worker sends them to the controller, which collects nothing itself."""
    claims = session.config.stash[SESSION]
    for item, stated in _claims_of(session.items):
        known = asdict(stated) | {"id": id_of(item, stated), "rank": stated.rank}
        claims.registered[item.nodeid] = (known, source_of(item))
    told = getattr(session.config, "workerinput", None)
    if told is not None:
        path = Path(told["claims"], told["workerid"])
        path.write_text(json.dumps({"problem": claims.problem, "registered": claims.registered}))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where to leave what it collects."""
    claims = node.config.stash[SESSION]
    if claims.folder is None:
        claims.folder = tempfile.TemporaryDirectory(prefix="claims-")
    node.workerinput["claims"] = claims.folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Read what a worker collected, before it runs any of it."""
    claims = node.config.stash[SESSION]
    told = json.loads(Path(claims.folder.name, node.workerinput["workerid"]).read_text())
    if told["problem"]:
        raise pytest.UsageError(told["problem"])
    claims.registered.update({nodeid: (stated, source) for nodeid, (stated, source) in told["registered"].items()})


def _claims_of(items: Sequence[pytest.Item]) -> list[tuple[pytest.Item, Claim]]:
    """The items that are claims, with what they state."""
    found = ((item, claim_of(getattr(item, "function", None))) for item in items)
    return [(item, stated) for item, stated in found if stated is not None]


def _check(session: pytest.Session, claims: ClaimSession, items: Sequence[pytest.Item]) -> None:
    """Find the claims among the items and read the reversals. Raises UsageError, InvalidInput, MissingArtifact."""
    config = session.config
    places: dict[tuple[str, str], str] = {}
    for item, stated in _claims_of(items):
        key = (id_of(item, stated), source_of(item))
        if key in places:
            raise pytest.UsageError(f"claim {key[0]} stands twice: {places[key]} and {item.nodeid}")
        places[key] = item.nodeid
    named = config.getoption("reversals")
    path = Path(named) if named else config.rootpath / "claims" / "reversals.toml"
    if not named and not (places and path.is_file()):
        return
    from harness.verdicts import reversals

    claims.reversals = reversals.load(path)
    unknown = sorted({id for id, _ in claims.reversals} - {id for id, _ in places})
    if unknown and places and not session.testsfailed and _whole(config, path):
        raise pytest.UsageError(f"{path}: reversals of claims that do not exist: {', '.join(unknown)}")


def _selected(ids: Sequence[str], items: Sequence[pytest.Item]) -> Sequence[pytest.Item]:
    """The claims of these ids with their second measures; all items without ids. Raises UsageError for an id of no claim."""
    if not ids:
        return list(items)
    claims = [(item, stated.id) for item, stated in _claims_of(items)]
    known = {id for _, id in claims} | {id.partition("/")[0] for _, id in claims}
    for id in ids:
        if id not in known:
            raise pytest.UsageError(f"--claim {id}: expected {nearest(id, known)}")
    return [item for item, id in claims if id in ids or id.partition("/")[0] in ids]


def _whole(config: pytest.Config, reversals: Path) -> bool:
    """Whether a folder with all claims was collected, and no file in it was left out."""
    if any(config.getoption(name, None) for name in ("lf", "ignore", "ignore_glob")):
        return False
    claims = [folder.resolve() for folder in (config.rootpath / "claims", reversals.parent) if folder.is_dir()]
    asked = [Path(config.invocation_params.dir, arg).resolve() for arg in config.args if "::" not in arg]
    return any(folder.is_relative_to(path) for path in asked if path.is_dir() for folder in claims)
