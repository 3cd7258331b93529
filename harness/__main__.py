"""The command line that dvc.yaml calls: one stage, one model, one profile."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from harness.artifacts import params
from harness.artifacts.errors import BadEnvironment, HarnessError, InvalidInput
from harness.artifacts.params import nearest

# Each stage's module, its function, and what it is about.
STAGES = {
    "check": ("harness.stages.check", "run", ()),
    "weights": ("harness.stages.weights", "run", ("model",)),
    "finetune": ("harness.stages.finetune", "run", ("model",)),
    "extract": ("harness.stages.extract", "run", ("model",)),
    "references": ("harness.stages.references", "run", ("kind",)),
    "compare": ("harness.stages.compare", "run", ("model",)),
    "drift": ("harness.stages.drift", "run", ("model",)),
    "line": ("harness.stages.line", "run", ("model",)),
    "knn": ("harness.stages.knn", "run", ("model",)),
    "probe": ("harness.stages.probe", "run", ("model",)),
    "agree": ("harness.stages.agree", "run", ("model",)),
    "pixels": ("harness.stages.knn", "pixels", ()),
    "sweep": ("harness.stages.sweep", "run", ()),
    "report": ("harness.stages.report", "run", ()),
}
# What is called like a stage and makes no artifact.
COMMANDS = {
    "cost": ("harness.stages.cost", "run", ()),
    "images": ("harness.stages.export", "run", ()),
    "page": ("harness.page.page", "run", ("verdicts",)),
    "verify": ("harness.stages.verify", "run", ()),
}
# Stages without torch have no device.
_TORCHLESS = ("agree", "check", "compare", "drift", "images", "page", "references", "report", "verify")


def main(arguments: list[str] | None = None) -> int:
    """Run one stage or command; return the exit code: 0, 1 where verdicts differ, or that of the error (12, 13 or 14)."""
    options = _parser().parse_args(arguments)
    try:
        if options.stage == "diff":
            return _diff(options.verdicts)
        if options.stage == "accept":
            return _accept(options)
        if options.verdicts and options.stage != "page":
            seen = " ".join(options.verdicts)
            raise InvalidInput("command line", field=options.stage, seen=seen, expected="options only, such as --model NAME")
        _run(options)
    except (HarnessError, MemoryError) as error:
        if options.debug:
            raise
        known = (
            error
            if isinstance(error, HarnessError)
            else BadEnvironment(options.stage, seen="out of memory", expected="more memory")
        )
        print(f"{known}", file=sys.stderr)
        return known.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    from harness.stages.device import chosen_device
    from harness.stages.place import Place

    known = params.load(Path("params.yaml"))
    place = Place(known, options.profile or known.profile)
    place.settings  # noqa: B018 (an unknown profile is told before anything is imported)
    if options.stage == "fetch":
        from harness.models.fetch import fetch_all

        fetch_all(known, place.profile, place.settings.models if options.model is None else [options.model])
        return
    module, function, about = (STAGES | COMMANDS)[options.stage]
    chosen = [getattr(options, name) for name in about]
    for name, value in zip(about, chosen, strict=True):
        if value is None:
            expected = nearest("", known.models) if name == "model" else f"what {options.stage} is about"
            raise InvalidInput("command line", field=f"--{name}", seen="nothing", expected=expected)
        if name == "model":
            known.model(value)
    extra = {} if options.stage in _TORCHLESS else {"device": chosen_device()}
    getattr(importlib.import_module(module), function)(place, *chosen, **extra)


def _accept(options: argparse.Namespace) -> int:
    if len(options.verdicts) != 1:
        seen = " ".join(options.verdicts) or "nothing"
        raise InvalidInput("command line", field="accept", seen=seen, expected="one stage, such as compare")
    from harness.stages import accept
    from harness.stages.place import Place

    known = params.load(Path("params.yaml"))
    accept.run(Place(known, options.profile or known.profile), options.verdicts[0], options.model)
    return 0


def _diff(verdicts: list[str]) -> int:
    if len(verdicts) != 2:
        seen = f"{len(verdicts)}: {' '.join(verdicts)}"
        raise InvalidInput("command line", field="diff", seen=seen, expected="two verdict files or git revisions")
    from harness.evidence import diff

    return diff.run(*verdicts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        description="Run one stage (dvc repro runs all), or: fetch files, say a cost, write images, compare verdicts, write a "
        "page, verify what ships, accept other code that gives the same results.",
    )
    parser.add_argument("stage", choices=[*STAGES, *COMMANDS, "fetch", "diff", "accept"])
    parser.add_argument(
        "verdicts", nargs="*", help="diff: two verdict files or git revisions; page: verdict files; accept: a stage"
    )
    parser.add_argument("--profile", help="a profile of params.yaml; without it the one named there")
    parser.add_argument("--model")
    parser.add_argument("--kind", help="summaries, probes or summaries_ft: which of the references' artifacts")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
