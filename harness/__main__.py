"""The command line: the stages that dvc.yaml calls, for one model of one profile each, and commands for users."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from harness.artifacts.errors import BadEnvironment, HarnessError, InvalidInput
from harness.params.load import load_params
from harness.params.params import Params
from harness.params.wording import nearest


class Command(NamedTuple):
    """module, function: what is called, with a Place and the options in `needs`. torch: whether it computes on a device."""

    module: str
    function: str
    needs: tuple[str, ...]
    torch: bool
    help: str


# In the order of each of dvc's files.
STAGES = {
    "check": Command("harness.stages.check", "run", (), False, "check params.yaml and write the fingerprint of every stage"),
    "weights": Command(
        "harness.stages.weights",
        "run",
        ("model",),
        True,
        "pre-train a model, or load released weights, and write its checkpoint",
    ),
    "finetune": Command("harness.stages.finetune", "run", ("model",), True, "fine-tune a model with labels (Table A5)"),
    "extract": Command(
        "harness.stages.extract", "run", ("model",), True, "one forward over all images: Gram matrices, CLS and GAP features"
    ),
    "references": Command(
        "harness.stages.references", "run", ("kind",), False, "write the hashes of the references' artifacts"
    ),
    "compare": Command(
        "harness.stages.compare", "run", ("model",), False, "CKA of every layer pair of a model and each reference, mutual k-NN"
    ),
    "drift": Command(
        "harness.stages.drift", "run", ("model",), False, "CKA of each epoch of a fine-tuning with the pre-trained models"
    ),
    "line": Command(
        "harness.stages.line", "run", ("model",), True, "loss on the line between the parameters before and after fine-tuning"
    ),
    "knn": Command(
        "harness.stages.knn",
        "run",
        ("model",),
        True,
        "20-NN accuracy at every block, and logistic regression on the final features",
    ),
    "probe": Command("harness.stages.probe", "run", ("model",), True, "linear and deeper probes of frozen features (Table 1)"),
    "agree": Command("harness.stages.agree", "run", ("model",), False, "agreement of class rankings (appendix D)"),
    "pixels": Command("harness.stages.knn", "pixels", (), True, "20-NN accuracy on raw pixels"),
    "sweep": Command("harness.stages.sweep", "run", (), True, "CKA by minibatch size and number of images (Fig. A1)"),
    "detect": Command(
        "harness.stages.detect",
        "run",
        ("model", "layers"),
        True,
        "a Mask R-CNN on frozen patch tokens: AP of boxes and masks (Table 2)",
    ),
    "invariance": Command(
        "harness.stages.invariance",
        "run",
        ("model",),
        True,
        "how far features move when one thing in the image changes (Fig. 7)",
    ),
    "segment": Command(
        "harness.stages.segment", "run", ("model",), True, "how much of objects' masks a linear read-out finds, by block"
    ),
    "generate": Command(
        "harness.stages.generate",
        "run",
        ("token",),
        True,
        "train a diffusion model that is conditioned on frozen features (Fig. 7)",
    ),
    "sample": Command(
        "harness.stages.sample", "run", ("model", "token"), True, "images drawn from a model's features (Figs. 7, A7, A8)"
    ),
    "report": Command("harness.stages.report", "run", (), False, "write metrics, plots and a figure of the profile"),
}
COMMANDS = {
    "fetch": Command("harness.models.fetch", "fetch_all", ("model",), False, "download released weights and images"),
    "cost": Command("harness.stages.cost", "run", (), True, "estimate the time, memory and disk that a profile takes"),
    "images": Command(
        "harness.stages.export", "run", (), False, "write the profile's images as arrays, to embed them elsewhere"
    ),
    "page": Command("harness.page.page", "run", ("verdicts",), False, "write the HTML page of a profile's results"),
    "verify": Command("harness.stages.verify", "run", (), False, "check what ships, and measure some of it again"),
    "accept": Command(
        "harness.stages.accept",
        "run",
        ("stage", "model"),
        False,
        "record results under changed code that gives the same numbers",
    ),
    "judge": Command(
        "harness.stages.judge",
        "run",
        ("weights", "architecture", "name", "key", "prefix"),
        False,
        "write a model's entry, measure it, and say whether it is like JE or REC models",
    ),
    "diff": Command("harness.verdicts.diff", "run", ("before", "after"), False, "compare two verdict files"),
}
# What may be left out, beside --profile.
_OPTIONAL = {("fetch", "model"), ("accept", "model"), *(("judge", name) for name in ("architecture", "name", "key", "prefix"))}
_OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"metavar": "NAME", "help": "a model of params.yaml"},
    "layers": {
        "metavar": "LAYERS",
        "help": "what a detector reads: final, final+9, final+10, final+9+10, final+final, or end-to-end",
    },
    "token": {"metavar": "TOKEN", "help": "cls or gap: the token whose features images are drawn from"},
    "architecture": {"metavar": "NAME", "help": "an architecture of the profile, or a timm network"},
    "name": {"metavar": "NAME", "help": "what the model is called in params.yaml (default: as the file)"},
    "key": {"metavar": "KEY", "help": "the dictionary in the file that holds the network, such as teacher"},
    "prefix": {"metavar": "TEXT", "help": "what the network's names begin with there, such as backbone."},
    "kind": {"metavar": "KIND", "help": "which artifacts of the references: summaries, probes, checkpoints or summaries_ft"},
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage or command; return the exit code: 0, 1 where verdicts differ, or that of the error (12, 13 or 14)."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (HarnessError, MemoryError) as error:
        if options.debug:
            raise
        known = (
            error
            if isinstance(error, HarnessError)
            else BadEnvironment(options.command, seen="out of memory", expected="more memory")
        )
        print(f"{known}", file=sys.stderr)
        return known.exit_code


def _run(options: argparse.Namespace) -> int:
    command = (STAGES | COMMANDS)[options.command]
    if options.command == "diff":
        from harness.verdicts import diff

        return diff.run(options.before, options.after)
    from harness.stages.place import Place

    known = load_params(Path("params.yaml"))
    place = Place(known, options.profile or known.profile)
    place.settings  # noqa: B018 (an unknown profile is told before anything is imported)
    chosen = [_value(options, name, known) for name in command.needs]
    if options.command == "fetch":
        from harness.models.fetch import fetch_all

        fetch_all(known, place.profile, place.settings.models if options.model is None else [options.model])
        return 0
    extra = {}
    if command.torch:
        from harness.stages.device import chosen_device

        extra = {"device": chosen_device()}
    start = time.perf_counter()
    code = getattr(importlib.import_module(command.module), command.function)(place, *chosen, **extra)
    if options.command in STAGES and options.command != "check":
        from harness.stages import seconds

        seconds.keep(_called(options, place.profile), time.perf_counter() - start)
    return code or 0


def _called(options: argparse.Namespace, profile: str) -> list[str]:
    """A stage with its options, in the order in which dvc.yaml has them."""
    named = {"profile": profile} | {name: getattr(options, name) for name in STAGES[options.command].needs}
    return [options.command, *(word for name, value in named.items() for word in (f"--{name}", str(value)))]


def _value(options: argparse.Namespace, name: str, known: Params) -> object:
    value = getattr(options, name)
    if value is None and (options.command, name) not in _OPTIONAL:
        expected = nearest("", known.models) if name == "model" else f"what {options.command} is about"
        raise InvalidInput("command line", field=f"--{name}", seen="nothing", expected=expected)
    if name == "model" and value is not None:
        known.model(value)
    return value


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    profile = argparse.ArgumentParser(add_help=False)
    profile.add_argument("--profile", metavar="NAME", help="a profile of params.yaml (default: the one named there)")
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        description="Measure representations and look after the results. `dvc repro` runs the stages in order; "
        "`pytest claims` decides the claims. `python -m harness COMMAND --help` explains one command.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=14, width=120),
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in (STAGES | COMMANDS).items():
        parents = [common] if name == "diff" else [common, profile]
        text = f"{command.help[0].upper()}{command.help[1:]}."
        if name in STAGES:
            text += " A stage of dvc.yaml: `dvc repro` runs it where its inputs changed."
        sub = commands.add_parser(name, help=command.help, description=text, parents=parents)
        for option in (one for one in command.needs if one in _OPTIONS):
            sub.add_argument(f"--{option}", **_OPTIONS[option])
        if name == "diff":
            for which in command.needs:
                sub.add_argument(which, help="a verdict file, or a git revision that has one")
        elif name == "page":
            sub.add_argument("verdicts", nargs="*", help="verdict files (default: artifacts/verdicts.json)")
        elif name == "judge":
            sub.add_argument("weights", help="a file of weights, or timm's pretrained ones, such as vit_small_patch16_224.dino")
        elif name == "accept":
            sub.add_argument("stage", help="the stage whose code was changed, such as compare")
    return parser


if __name__ == "__main__":
    sys.exit(main())
