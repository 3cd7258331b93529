"""Change every reading in one place, one change at a time, and see whether test_readings.py notices.

python -m tests.claims.mutants                    # prints the changes that survive, and exits 1 if there are any
python -m tests.claims.mutants test_fig01 ...     # of the files whose names begin so
"""

from __future__ import annotations

import ast
import copy
import importlib
import io
import sys
import types
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]
readings = importlib.import_module("test_readings")

# What may stand in the place of what.
NAMES = {
    "LO": ["MID", "HI", "BLOCKS"],
    "MID": ["LO", "HI"],
    "HI": ["LO", "MID", "BLOCKS"],
    "BLOCKS": ["LO", "HI"],
    "exceeds": ["below"],
    "below": ["exceeds"],
    "equivalent": ["below"],
    "combinations": ["permutations"],
    "permutations": ["combinations"],
    "je": ["rec"],
    "rec": ["je"],
    "first": ["last"],
    "last": ["first"],
    "cells": ["judge"],
    "choose": ["judge"],
    "judge": ["choose"],
}
WORDS = {
    "attn.qkv": ["attn.proj", "norm1"],
    "norm1": ["norm2", "attn.qkv"],
    "mlp.fc1": ["mlp.fc2", "block"],
    "moco_v3": ["dino", "mae"],
    "mae": ["dino", "moco_v3"],
    "dino": ["mae"],
    "cls": ["gap"],
    "ap": ["small"],
    "small": ["large", "ap"],
    "large": ["small"],
    "dino_nomc": ["dino", "mae"],
    "moco_v3_no_flip": ["moco_v3"],
    "fcmae": ["mae"],
    "random_resnet50": ["random_convnextv2"],
    "random_convnextv2": ["random_resnet50"],
    "flip": ["tilt"],
    "final+9+10": ["final+9"],
    "gap": ["cls"],
    "right": ["wrong", "all"],
    "wrong": ["right", "all"],
    "final": ["gap", "depth2"],
    "depth2": ["depth3", "final"],
    "depth3": ["depth2", "deep"],
    "deep": ["depth4"],
    "pair": ["wide", "all"],
    "wide": ["pair"],
    "all": ["pair"],
    "difference": ["trait"],
    "level": ["trait"],
    "match": ["trait"],
    "methods": ["artifacts"],
    "artifacts": ["methods"],
}


def mutants(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    """Copies of a module with one change each, and what was changed where."""
    for i, node in enumerate(ast.walk(tree)):
        for change, new in _changes(node):
            mutant = copy.deepcopy(tree)
            target = list(ast.walk(mutant))[i]
            _replace(mutant, target, new)
            yield f"line {getattr(node, 'lineno', '?')}: {change}", ast.fix_missing_locations(mutant)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        for other in NAMES.get(node.id, ()):
            yield f"{node.id} -> {other}", ast.Name(other, ast.Load())
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        for other in WORDS.get(node.value, ()):
            yield f"{node.value!r} -> {other!r}", ast.Constant(other)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        step = 1 if isinstance(node.value, int) else 0.5 * node.value or 0.1
        yield f"{node.value} -> {node.value + step}", ast.Constant(node.value + step)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        yield "a - b -> b - a", ast.BinOp(node.right, ast.Sub(), node.left)
        yield "a - b -> a", node.left
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield "a + b -> a", node.left
        yield "a + b -> b", node.right


def _replace(tree: ast.AST, target: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, new)
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if item is target:
                        value[i] = new


def survives(source: types.ModuleType, tree: ast.Module) -> bool:
    """Whether the tests of the module's claims pass on the changed module."""
    module = types.ModuleType(source.__name__)
    module.__file__ = source.__file__
    tests = dict(readings.TESTS)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, source.__name__, module)
            exec(compile(tree, str(source.__file__), "exec"), vars(module))
            claims = [test for name, test in vars(module).items() if name.startswith("test_") and hasattr(test, "claim")]
            # test_planted.py holds which claims there are.
            if {test.claim.id for test in claims} != {id for id, test in tests.items() if test.__module__ == source.__name__}:
                return False
            for test in claims:
                patch.setitem(readings.TESTS, test.claim.id, test)
            for test in claims:
                if test.claim.id not in readings.PLANTED:
                    continue
                for seed in readings.WORLDS:
                    with pytest.MonkeyPatch.context() as inner:
                        readings.test_a_claim_compares_what_its_reading_says(test.claim.id, seed, inner)
                readings.test_a_claim_asks_of_the_instrument_what_its_reading_needs(test.claim.id)
    except Exception:
        return False
    return True


def main() -> int:
    """Try every change of every claim that artifacts decide."""
    asked = tuple(sys.argv[1:]) or ("test_",)
    names = sorted({name for id in readings.PLANTED if (name := readings.TESTS[id].__module__).startswith(asked)})
    tried, left = 0, []
    for name in names:
        source = sys.modules[name]
        tree = ast.parse(Path(str(source.__file__)).read_text())
        assert survives(source, tree), f"{name} fails unchanged"
        for change, mutant in mutants(tree):
            tried += 1
            if survives(source, mutant):
                left.append(f"{name} {change}")
                print("survives:", left[-1], flush=True)
    print(f"{tried} changes tried, {len(left)} survive")
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())
