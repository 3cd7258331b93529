"""What the paper finds of single models, in a planted world that shows all of it."""

from __future__ import annotations

import importlib
import sys

import pytest
import worlds

from harness.artifacts.closure import ROOT
from harness.evidence.decide import State
from harness.readings.finding import Finding
from harness.readings.probes import MeasuredProbes

sys.path.insert(0, str(ROOT / "claims"))
claims = importlib.import_module("test_model_findings")

JE = [run for method in worlds.JE for run in worlds.RUNS[method]]
REC = [run for method in worlds.REC for run in worlds.RUNS[method]]
OF = claims.Evidence(worlds.knn, MeasuredProbes(worlds.probe_accuracy), worlds.invariance, worlds.segmentation)


def finding(name: str, je: list[str] = JE, rec: list[str] = REC) -> Finding:
    value, higher = claims.FINDINGS[name]
    return Finding(lambda model: value(OF, model), je, rec, higher)


@pytest.mark.parametrize("name", claims.FINDINGS)
def test_each_tells_a_run_of_one_family_from_the_other(name: str) -> None:
    for runs, state in ((JE, State.JE_LIKE), (REC, State.REC_LIKE)):
        for run in runs:
            assert finding(name).of(run).state is state, run


@pytest.mark.parametrize("name", claims.FINDINGS)
def test_with_the_families_swapped_it_judges_nobody(name: str) -> None:
    assert finding(name, je=REC, rec=JE).of("moco_v3").state is State.UNCALIBRATED


def test_the_numbers_by_hand() -> None:
    """MoCo-v3's 20-NN rises from 20 to 70 in CLS and to 50 outside, MAE's falls by 1.5 a block after the third."""
    value = {name: one[0](OF, "moco_v3").value for name, one in claims.FINDINGS.items()}
    near = pytest.approx
    assert value["decline"] == near(20 + 50 * 3 / 11 - 70, abs=2)
    assert value["gathering"] == near(20 * 10 / 11, abs=1.5)
    assert value["hidden"] == near(0, abs=2)
    assert value["flips"] == near(0.05, abs=0.02)
    assert value["small-objects"] == near(60)
    fall = claims.FINDINGS["decline"][0](OF, "mae").value
    assert fall == near(1.5 * 9, abs=2)
    for name, features in (("deeper", "depth3"), ("intermediate", "pair"), ("every-layer", "all")):
        accuracy = worlds.probe_accuracy("mae")
        gained = accuracy.estimate(features).value - accuracy.estimate("final").value
        assert claims.FINDINGS[name][0](OF, "mae").value == near(gained)
        assert gained > 0.5
