"""The plugin, by running pytest on claims that are made up here."""

from __future__ import annotations

import importlib
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from harness.artifacts.errors import InvalidInput
from harness.evidence.claim import Inputs, claim, undecided
from harness.evidence.decide import State
from harness.verdicts import record

# A run inside this process forgets what it imported itself: loaded here, it is loaded once.
importlib.import_module("scipy.special")

PRELUDE = """
import os
import numpy as np
import pytest
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, below, exceeds
from harness.evidence.estimate import Estimate

def measured(value):
    return Estimate(value, value + np.linspace(-0.1, 0.1, 401), 40, "images", "key")

def stated(id, margin=0.5, **more):
    return claim(id, where="Fig. 0", statement=f"The statement of {id}.", reading="above the margin", margin=margin, **more)
"""

ALL = """
@stated("holds", about="artifacts")
def test_holds(margin): return exceeds(measured(0.9), margin)

@stated("fails")
def test_fails(margin): return exceeds(measured(0.1), margin)

@stated("open")
def test_open(margin): return exceeds(measured(0.5), margin)

@stated("both")
def test_both(margin): return [exceeds(measured(0.9), margin), exceeds(measured(0.8), margin)]

@stated("gone")
def test_gone(margin): raise MissingArtifact("artifacts/x", "not measured", next_step="run dvc repro")

@stated("broken")
def test_broken(broken): return None

@stated("raw")
def test_raw(): return undecided(State.UNCALIBRATED, "the anchors are missed")

@stated("nothing", published="none")
def test_nothing(): return undecided(State.NO_EVIDENCE, "the paper shows none")

@stated("bug")
def test_bug(): return 1 / 0

@stated("wrong-return")
def test_wrong_return(): return 3

@pytest.fixture
def broken(): raise InvalidInput("artifacts/y", field="sha256", seen="a", expected="b", next_step="run dvc repro")
"""

EXPECTED = {
    "holds": "SUPPORTED",
    "fails": "REFUTED",
    "open": "INCONCLUSIVE",
    "both": "SUPPORTED",
    "gone": "MISSING",
    "broken": "INVALID",
    "raw": "UNCALIBRATED",
    "nothing": "NO_EVIDENCE",
    "bug": "INVALID",
    "wrong-return": "INVALID",
}


@pytest.fixture
def run(pytester: pytest.Pytester) -> Any:
    """Run pytest on a file of claims; the plugin is loaded as the project loads it. Workers need their own processes."""

    def go(body: str, *arguments: str) -> pytest.RunResult:
        plugins = "-p harness.verdicts.plugin -p no:hydra_pytest -p no:hypothesispytest -p no:anyio"
        pytester.makeini(f"[pytest]\naddopts = {plugins}\nfilterwarnings = error\n")
        folder = pytester.path / "claims"
        folder.mkdir(exist_ok=True)
        (folder / "test_made_up.py").write_text(PRELUDE + textwrap.dedent(body))
        own = "-n" in arguments or "--own-process" in arguments
        start = pytester.runpytest_subprocess if own else pytester.runpytest_inprocess
        return start("claims", "-p", "no:cacheprovider", *(word for word in arguments if word != "--own-process"))

    return go


def states(pytester: pytest.Pytester, name: str = "v.json") -> dict[tuple[str, str], str]:
    return {(row.source, row.id): row.state for row in record.read(pytester.path / name)}


def test_every_state_has_its_outcome_and_record(run: Any, pytester: pytest.Pytester) -> None:
    result = run(ALL, "--verdicts", "v.json", "-v")
    last = result.stdout.str().splitlines()[-1]
    for counted in ("2 supported", "1 failed", "3 errors", "1 inconclusive", "1 missing", "1 uncalibrated", "1 no evidence"):
        assert re.search(rf"\b{counted}\b", last)
    assert result.ret == 1
    assert {id: state for (_, id), state in states(pytester).items()} == EXPECTED
    found = re.findall(r"::test_(\w+)\[embedded\] (?:<- \S+ )?(\w+)", result.stdout.str().split("= ERRORS =")[0])
    words = {name: word for name, word in found if word in EXPECTED.values()}
    assert words == {id.replace("-", "_"): state for id, state in EXPECTED.items()}


def test_the_record_of_a_decided_claim_holds_its_numbers(run: Any, pytester: pytest.Pytester) -> None:
    run(ALL, "--verdicts", "v.json")
    rows = {row.id: row for row in record.read(pytester.path / "v.json")}
    held = rows["holds"]
    assert (held.estimate, held.margin, held.n, held.unit, held.source) == (0.9, 0.5, 40, "images", "embedded")
    assert held.interval is not None
    assert 0.79 < held.interval[0] < 0.9 < held.interval[1] < 1.01
    assert (held.provisional, rows["both"].provisional, rows["gone"].provisional) == (False, True, False)
    assert rows["gone"].estimate is None
    assert "ZeroDivisionError" in rows["bug"].reason
    assert rows["holds"].reading == "above the margin"


def test_a_refuted_claim_is_told_in_words_and_a_bug_with_its_traceback(run: Any) -> None:
    text = run(ALL).stdout.str()
    assert "REFUTED fails (embedded; Fig. 0)" in text
    assert "claim: The statement of fails." in text
    refuted = text.split("REFUTED fails")[1].split("____")[0]
    assert "Traceback" not in refuted
    assert "def test_fails" not in refuted
    assert "estimate 0.1, interval [0.00405, 0.196], margin 0.5, n = 40 images" in refuted
    assert "return 1 / 0" in text
    assert "artifacts/y: sha256" in text


def test_the_table_has_a_row_per_claim_and_counts_states(run: Any) -> None:
    text = run(ALL).stdout.str()
    table = text.split(" verdicts ")[1]
    for id, state in EXPECTED.items():
        rows = [line for line in table.splitlines() if re.match(rf"\S+ +{id}  ", line)]
        decided = state in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
        assert [row.partition(" ")[0].strip("*") for row in rows] == ([state[0]] if decided else [])
    [row] = [line for line in table.splitlines() if line.startswith("R*")]
    assert row.split() == ["R*", "fails", "0.100", "[0.004,", "0.196]", ">", "0.5"]
    assert "* provisional" in table
    counts = "2 SUPPORTED, 1 REFUTED, 1 INCONCLUSIVE, 1 MISSING, 1 UNCALIBRATED, 1 NO_EVIDENCE, 3 INVALID"
    assert counts in " ".join(table.split())
    assert "MISSING (1): not measured: gone" in table
    whole = run(ALL, "-v").stdout.str().split(" verdicts ")[1]
    assert "MISSING (1): artifacts/x: missing; not measured; next: run dvc repro: gone" in " ".join(whole.split())


def test_the_verdict_file_is_the_same_however_many_workers(run: Any, pytester: pytest.Pytester) -> None:
    sources = ("--source", "published", "--source", "embedded")
    for workers in ("0", "2", "3"):
        run(ALL, "-n", workers, *sources, "--verdicts", f"v{workers}.json")
    contents = [(pytester.path / f"v{workers}.json").read_bytes() for workers in ("0", "2", "3")]
    assert contents[0] == contents[1] == contents[2]
    assert len(json.loads(contents[0])) == 2 * len(EXPECTED)


def test_a_crashed_worker_still_leaves_a_record(run: Any, pytester: pytest.Pytester) -> None:
    crash = '@stated("dies")\ndef test_dies(): os._exit(3)\n'
    result = run(ALL + crash, "-n", "2", "--verdicts", "v.json")
    assert result.ret == 1
    found = {id: state for (_, id), state in states(pytester).items()}
    assert found == EXPECTED | {"dies": "INVALID"}
    [row] = [row for row in record.read(pytester.path / "v.json") if row.id == "dies"]
    assert row.reason == "the worker crashed"


def test_no_claim_is_lost_when_every_worker_dies(run: Any, pytester: pytest.Pytester) -> None:
    body = "".join(f'@stated("dies-{i}")\ndef test_dies_{i}(): os._exit(3)\n' for i in range(4))
    result = run(body, "-n", "2", "--max-worker-restart=0", "--verdicts", "v.json")
    assert result.ret == 1
    rows = record.read(pytester.path / "v.json")
    assert [(row.id, row.state) for row in rows] == [(f"dies-{i}", "INVALID") for i in range(4)]
    assert sorted(row.reason for row in rows) == ["not run: the session ended before it"] * 2 + ["the worker crashed"] * 2


MARKED = """
@pytest.mark.xfail(reason="hush")
@stated("refuted")
def test_refuted(margin): return exceeds(measured(0.1), margin)

@pytest.mark.xfail(reason="hush")
@stated("bug")
def test_bug(): return 1 / 0

@pytest.mark.xfail(reason="hush", run=False)
@stated("not-run")
def test_not_run(): return exceeds(measured(0.9), 0.5)

@pytest.mark.skip(reason="hush")
@stated("skipped")
def test_skipped(): return exceeds(measured(0.9), 0.5)

@stated("skips")
def test_skips(): pytest.skip("hush")

@stated("xfails")
def test_xfails(): pytest.xfail("hush")
"""


def test_no_mark_hides_a_claim(run: Any, pytester: pytest.Pytester) -> None:
    result = run(MARKED, "--verdicts", "v.json")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1, "errors": 5}
    found = {id: state for (_, id), state in states(pytester).items()}
    invalid = dict.fromkeys(("bug", "not-run", "skipped", "skips", "xfails"), "INVALID")
    assert found == {"refuted": "REFUTED"} | invalid


def test_a_fixture_that_fails_afterwards_takes_the_verdict_back(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @pytest.fixture
    def checked():
        yield
        raise InvalidInput("artifacts/y", field="sha256", seen="a", expected="b")

    @stated("tampered")
    def test_tampered(checked, margin): return exceeds(measured(0.9), margin)
    """
    assert run(body, "--verdicts", "v.json").ret == 1
    [row] = record.read(pytester.path / "v.json")
    assert (row.state, row.estimate) == ("INVALID", None)
    assert "artifacts/y: sha256" in row.reason


@pytest.mark.parametrize(
    ("numbers", "state"),
    [
        ('float("nan"), (0.0, 1.0), 0.5', "INVALID"),
        ('0.9, (0.0, float("inf")), 0.5', "INVALID"),
        ("None, None, 0.5", "INVALID"),
        ("np.float32(0.75), (np.float32(0.5), np.float64(1.0)), np.float64(0.25)", "SUPPORTED"),
    ],
)
def test_numbers_are_finite_and_plain(run: Any, pytester: pytest.Pytester, numbers: str, state: str) -> None:
    body = f"""
    from harness.evidence.decide import Decision

    @stated("numbers")
    def test_numbers(): return Decision(State.SUPPORTED, {numbers}, np.int64(3), "x", "why")
    """
    assert run(body, "--verdicts", "v.json").ret == (state == "INVALID")
    [row] = record.read(pytester.path / "v.json")
    assert row.state == state
    assert row.n == (None if state == "INVALID" else 3)


def test_collecting_alone_decides_nothing(run: Any, pytester: pytest.Pytester) -> None:
    result = run(ALL, "--collect-only", "--verdicts", "v.json")
    assert result.ret == 0
    assert " verdicts " not in result.stdout.str()
    assert not (pytester.path / "v.json").exists()


def test_verdicts_that_cannot_be_written_are_not_a_success(run: Any) -> None:
    held = '@stated("held")\ndef test_held(margin): return exceeds(measured(0.9), margin)\n'
    result = run(held, "--verdicts", "tox.ini/v.json")
    assert result.ret == 14
    assert "verdicts not written" in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
    assert run(held, "--verdicts", "claims").ret == 4


def test_a_source_is_a_plain_name(run: Any) -> None:
    result = run(ALL, "--source", "Bad-Name")
    assert result.ret == 4
    assert "--source Bad-Name" in result.stderr.str()


def test_what_was_not_run_has_a_record_too(run: Any, pytester: pytest.Pytester) -> None:
    run(ALL, "-x", "--verdicts", "v.json")
    assert len(states(pytester)) == len(EXPECTED)


def test_under_published_a_plot_is_no_evidence_and_numbers_decide(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @stated("plotted")
    def test_plotted(never): return None

    @stated("unmentioned", published="none")
    def test_unmentioned(never): return None

    @stated("printed", published="numbers")
    def test_printed(source, margin): return exceeds(measured(0.9 if source == "published" else 0.1), margin)

    @pytest.fixture
    def never(source):
        assert source != "published"
        raise MissingArtifact("x", "x", next_step="x")
    """
    run(body, "--source", "published", "--source", "embedded", "--verdicts", "v.json")
    assert states(pytester) == {
        ("published", "plotted"): "NO_EVIDENCE",
        ("published", "unmentioned"): "NO_EVIDENCE",
        ("published", "printed"): "SUPPORTED",
        ("embedded", "plotted"): "MISSING",
        ("embedded", "unmentioned"): "MISSING",
        ("embedded", "printed"): "REFUTED",
    }
    rows = {row.id: row for row in record.read(pytester.path / "v.json") if row.source == "published"}
    assert not rows["printed"].provisional
    assert rows["plotted"].reason == "the paper shows a plot, no numbers"
    assert rows["unmentioned"].reason == "the paper prints nothing"


def test_artifacts_and_runs_that_fixtures_note_reach_the_record(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @pytest.fixture
    def noted(inputs):
        inputs.record("artifacts/z", "abc")
        inputs.record_runs(5)
        inputs.record_runs(3)

    @stated("noted")
    def test_noted(noted, margin): return exceeds(measured(0.9), margin)
    """
    run(body, "--verdicts", "v.json")
    [row] = record.read(pytester.path / "v.json")
    assert row.provenance == {"artifacts": {"artifacts/z": "abc"}, "replicates": 3}
    assert not row.provisional


def test_nothing_decided_and_something_missing_exits_13(run: Any) -> None:
    missing = '@stated("gone")\ndef test_gone(): raise MissingArtifact("x", "y", next_step="run dvc repro")\n'
    nothing = '@stated("none")\ndef test_none(): return undecided(State.NO_EVIDENCE, "none")\n'
    held = '@stated("held")\ndef test_held(margin): return exceeds(measured(0.9), margin)\n'
    result = run(missing + nothing)
    assert result.ret == 13
    assert "run dvc repro" in result.stdout.str()
    assert run(missing + held).ret == 0
    assert run(nothing).ret == 0
    assert run(missing, "-n", "2").ret == 13
    assert run(missing, "-k", "no_such_claim").ret == 5


REVERSAL = '[[reversal]]\nid = "{id}"\nsource = "embedded"\nevidence = "0.1 +- 0.01 in run 7"\ndate = 2026-11-23\n'


@pytest.mark.parametrize(
    ("id", "code", "word"), [("fails", 0, "REFUTED as recorded"), ("holds", 1, "SUPPORTED"), ("open", 1, "INCONCLUSIVE")]
)
def test_a_reversal_expects_refuted_and_nothing_else(
    run: Any, pytester: pytest.Pytester, id: str, code: int, word: str
) -> None:
    (pytester.path / "claims").mkdir()
    (pytester.path / "claims" / "reversals.toml").write_text(REVERSAL.format(id=id))
    result = run(ALL.split('@stated("both")')[0], "-v", "-k", f"test_{id}", "--verdicts", "v.json")
    assert result.ret == code
    assert word in result.stdout.str()
    [row] = record.read(pytester.path / "v.json")
    assert row.state == EXPECTED[id]
    assert ("run 7" in row.reason) == (id == "fails")
    assert ("no longer holds" in result.stdout.str()) == (id != "fails")


def test_a_reversal_at_another_source_does_not_count(run: Any, pytester: pytest.Pytester) -> None:
    (pytester.path / "other.toml").write_text(REVERSAL.format(id="fails").replace("embedded", "paper"))
    assert run(ALL, "--reversals", "other.toml", "-k", "test_fails").ret == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REVERSAL.format(id="no-such-claim"), "no-such-claim"),
        (REVERSAL.format(id="fails") + 'color = "red"\n', "color"),
        (REVERSAL.format(id="fails") * 2, "once"),
        ("[[reversal]\n", "valid TOML"),
        ('[[reversal]]\nid = "fails"\n', "source"),
    ],
)
def test_wrong_reversals_are_usage_errors(run: Any, pytester: pytest.Pytester, text: str, message: str) -> None:
    (pytester.path / "wrong.toml").write_text(text)
    result = run(ALL, "--reversals", "wrong.toml")
    assert result.ret == 4
    assert message in result.stderr.str() + result.stdout.str()


def test_a_reversal_of_no_claim_is_told_when_all_claims_were_collected(run: Any, pytester: pytest.Pytester) -> None:
    (pytester.path / "claims").mkdir()
    (pytester.path / "claims" / "reversals.toml").write_text(REVERSAL.format(id="no-such-claim"))
    held = '@stated("held")\ndef test_held(margin): return exceeds(measured(0.9), margin)\n'
    for arguments in ((), ("-k", "held"), ("-n", "2")):
        assert run(held, *arguments).ret == 4
    (pytester.path / "claims" / "test_other.py").write_text("")
    (pytester.path / "elsewhere").mkdir()
    assert run(held, "--ignore", "claims/test_other.py").ret == 0
    for only in ("claims/test_made_up.py", "claims/test_made_up.py::test_held"):
        result = pytester.runpytest_subprocess(only, "elsewhere", "-p", "no:cacheprovider")
        assert result.ret == 0


def test_the_same_id_twice_is_a_usage_error_that_names_both(run: Any) -> None:
    twice = '@stated("same")\ndef test_one(): ...\n@stated("same")\ndef test_two(): ...\n'
    result = run(twice)
    assert result.ret == 4
    assert "test_one" in result.stderr.str()
    assert "test_two" in result.stderr.str()
    again = '@pytest.mark.parametrize("x", [1, 2])\n@stated("same")\ndef test_one(x): ...\n'
    assert run(again).ret == 4
    result = run(twice, "-n", "2")
    assert result.ret == 4
    assert "test_one" in result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str()


def test_fixtures_of_claims_refuse_what_states_no_margin_or_is_no_claim(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @stated("marginless", margin=None)
    def test_marginless(margin): return exceeds(measured(0.9), margin)

    def test_plain(source): pass
    """
    result = run(body, "--verdicts", "v.json")
    assert result.parseoutcomes() == {"errors": 2}
    text = result.stdout.str()
    assert "expected: a margin in the claim's decorator" in text
    assert "expected: a claim: use it under @claim" in text
    assert states(pytester) == {("embedded", "marginless"): "INVALID"}


def test_the_table_is_aligned_and_coloured_by_state(run: Any) -> None:
    body = """
    @stated("a")
    def test_a(margin): return exceeds(measured(0.9), margin)

    @stated("a-much-longer-id")
    def test_b(margin): return exceeds(measured(0.1), margin)
    """
    lines = run(body).stdout.str().split(" verdicts ")[1].splitlines()
    place = lines.index("Fig. 0")
    starts = [[cell.start() for cell in re.finditer(r"\S+( \S+)*", line)] for line in lines[place + 1 : place + 3]]
    assert len(starts[0]) == 2
    assert starts[0] == starts[1]
    coloured = run(body, "--color=yes").stdout.str()
    assert "\x1b[32mS* " in coloured
    assert "\x1b[31mR* " in coloured


def test_a_claim_is_selected_by_its_id(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @stated("one")
    def test_a(margin): return exceeds(measured(0.9), margin)

    @stated("one/cls")
    def test_b(margin): return exceeds(measured(0.9), margin)

    @stated("one-more")
    def test_c(margin): return exceeds(measured(0.9), margin)
    """
    for arguments, ids in (
        (("--claim", "one"), {"one", "one/cls"}),
        (("--claim", "one/cls"), {"one/cls"}),
        (("--claim", "one/cls", "--claim", "one-more"), {"one/cls", "one-more"}),
        (("-k", "one-more"), {"one-more"}),
    ):
        assert run(body, *arguments, "--verdicts", "v.json").ret == 0
        assert {id for _, id in states(pytester)} == ids
    assert run(body, "--claim", "one", "-n", "2", "--verdicts", "v.json").ret == 0
    assert {id for _, id in states(pytester)} == {"one", "one/cls"}
    refused = run(body, "--claim", "one-mor")
    assert refused.ret == 4
    assert "--claim one-mor: expected one-more" in refused.stderr.str()
    refused.stdout.no_fnmatch_line("*verdicts*")


def test_the_table_leads_back_to_the_main_findings(run: Any, pytester: pytest.Pytester) -> None:
    body = """
    @stated("one", title="The first finding", main=True, quantity="CKA")
    def test_a(margin): return exceeds(measured(0.9), margin)

    @stated("two", title="The second finding", main=True)
    def test_b(margin): return exceeds(measured(0.5), margin)

    @stated("detail", title="A detail")
    def test_c(margin): return below(measured(0.1), margin)
    """
    body = "\nfrom harness.evidence.decide import below\n" + textwrap.dedent(body)
    text = run(body, "--verdicts", "v.json").stdout.str()
    found = " ".join(text.split("embedded: the paper's")[1].split())
    assert found.startswith("2 main findings: 1 supported, 0 refuted, 1 inconclusive, 0 not decided")
    assert "The first finding 0.900 [0.804, 0.996] > 0.5 CKA" in found
    assert "A detail" not in found
    rows = {row.id: row for row in record.read(pytester.path / "v.json")}
    assert {id: (row.rank, row.direction, row.doubt) for id, row in rows.items()} == {
        "one": ("main", "above", ""),
        "two": ("main", "above", "the interval includes the margin"),
        "detail": ("detail", "below", ""),
    }


def test_other_tests_are_left_alone(run: Any) -> None:
    plain = "def test_plain(): pass\ndef test_plain_failure(): assert 1 == 2\n"
    result = run(plain)
    result.assert_outcomes(passed=1, failed=1)
    assert " verdicts " not in result.stdout.str()
    light = """
    import sys

    def test_what_is_loaded(): pass

    @pytest.fixture(scope="session", autouse=True)
    def afterwards():
        yield
        assert not {"harness.verdicts.record", "harness.verdicts.reversals"} & set(sys.modules)
    """
    assert run(light, "--own-process").ret == 0


def test_deciding_imports_nothing_slow(run: Any) -> None:
    body = """
    import sys

    @stated("light")
    def test_light(margin):
        assert not {"torch", "timm", "sklearn", "pandas", "scipy.stats", "statsmodels"} & set(sys.modules)
        return exceeds(measured(0.9), margin)

    @stated("two-parts")
    def test_two_parts(margin):
        decided = [exceeds(measured(0.9), margin), exceeds(measured(0.1), margin)]
        assert not {"torch", "timm", "sklearn", "pandas", "scipy.stats", "statsmodels"} & set(sys.modules)
        return decided[:1] * 2
    """
    assert run(body, "--own-process").ret == 0


def test_a_claim_without_id_or_words_is_refused() -> None:
    words = {"where": "a", "statement": "b", "reading": "c"}
    for id in ("", "Upper", "a b", "a--b", "a/b/c"):
        with pytest.raises(InvalidInput, match="id"):
            claim(id, **words)
    for empty in words:
        with pytest.raises(InvalidInput, match=empty):
            claim("fine", **(words | {empty: " "}))
    for name, wrong in (("about", "people"), ("published", "maybe"), ("margin", float("nan"))):
        with pytest.raises(InvalidInput, match=name):
            claim("fine", **words, **{name: wrong})


def test_a_reading_keeps_the_fewest_runs_and_one_hash_for_each_artifact() -> None:
    inputs = Inputs("embedded")
    for runs in (5, 3, 4):
        inputs.record_runs(runs)
    assert inputs.runs == 3
    with pytest.raises(InvalidInput, match="replicates"):
        inputs.record_runs(0)
    inputs.record("a", "1")
    inputs.record("a", "1")
    with pytest.raises(InvalidInput, match="sha256"):
        inputs.record("a", "2")
    assert inputs.artifacts == {"a": "1"}


def test_only_numbers_support() -> None:
    assert undecided(State.MISSING, "x").state is State.MISSING
    with pytest.raises(InvalidInput, match="SUPPORTED"):
        undecided(State.SUPPORTED, "x")


def test_a_verdict_file_is_read_back_and_a_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    rows = [record.Record(i, "embedded", "REFUTED", "s", "w", "r", "why", 0.1, (0.0, 0.2), 0.5, 7, "images") for i in "ba"]
    record.write(path, rows)
    assert record.read(path) == rows[::-1]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="list of verdict records"):
        record.read(path)


JUDGED = """
@stated("own", about="model")
def test_own(model, margin):
    return Decision(State.JE_LIKE if model == "mine" else State.NEITHER, 0.2, (0.1, 0.3), 0.0, 40, "images", f"of {model}")

@stated("paper")
def test_paper(margin): return exceeds(measured(0.9), margin)

def test_plain(): pass
"""


def test_claims_about_a_model_are_decided_for_those_that_are_named_and_for_nothing_else(
    run: Any, pytester: pytest.Pytester
) -> None:
    assert run(JUDGED, "--verdicts", "v.json").parseoutcomes() == {"passed": 1, "supported": 1}
    assert states(pytester) == {("embedded", "paper"): "SUPPORTED"}
    result = run(JUDGED, "--model", "mine", "--model", "yours", "--model", "mine", "--verdicts", "v.json")
    assert result.ret == 0
    assert states(pytester) == {("embedded", "mine/own"): "JE-LIKE", ("embedded", "yours/own"): "NEITHER"}
    assert "1 JE-LIKE, 1 NEITHER" in result.stdout.str()
    run(JUDGED, "--model", "mine", "--model", "yours", "-n", "2", "--verdicts", "w.json")
    assert states(pytester, "w.json") == states(pytester)
