"""What changed between two verdict files, or two revisions of one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.verdicts.diff import VERDICTS, compare
from harness.verdicts.record import Record, write

BASE = Record("a", "embedded", "SUPPORTED", "", "", "", "", estimate=1.25, interval=(1.0, 1.5), margin=0.1, n=32)


def record(**changes: object) -> Record:
    from dataclasses import replace

    return replace(BASE, **changes)


def test_states_that_changed_are_told_with_both_estimates() -> None:
    before = [record(), record(id="b"), record(id="gone", state="MISSING", estimate=None, interval=None)]
    after = [record(state="REFUTED", estimate=-2.0, interval=(-3.0, -1.0)), record(id="b", estimate=7.0), record(id="new")]
    assert compare(before, after) == [
        "a (embedded): SUPPORTED 1.25 [1, 1.5] -> REFUTED -2 [-3, -1]",
        "new (embedded): not there -> SUPPORTED 1.25 [1, 1.5]",
        "gone (embedded): MISSING -> not there",
    ]


def test_the_same_claim_from_another_source_is_another() -> None:
    assert compare([record()], [record(), record(source="laptop")]) == ["a (laptop): not there -> SUPPORTED 1.25 [1, 1.5]"]


def test_files_are_compared_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.json"), [record()])
    write(Path("b.json"), [record(state="INCONCLUSIVE")])
    assert main(["diff", "a.json", "a.json"]) == 0
    assert capsys.readouterr().out == "0 of 1 claims changed state\n"
    assert main(["diff", "a.json", "b.json"]) == 1
    assert capsys.readouterr().out.endswith("INCONCLUSIVE 1.25 [1, 1.5]\n1 of 1 claims changed state\n")
    for words in (["diff", "a.json"], ["weights", "a.json"]):
        with pytest.raises(SystemExit, match="2"):
            main(words)
    assert main(["diff", "a.json", "none.json"]) == 13
    Path("bad.json").write_text("{}x")
    assert main(["diff", "a.json", "bad.json"]) == 12
    write(Path("twice.json"), [record(), record()])
    assert main(["diff", "a.json", "twice.json"]) == 12


def test_revisions_are_compared_and_those_without_verdicts_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "none")
    for state in ("SUPPORTED", "REFUTED"):
        write(Path(VERDICTS), [record(state=state)])
        git("add", ".")
        git("commit", "-m", state)
    assert main(["diff", "HEAD~1", "HEAD"]) == 1
    assert capsys.readouterr().out.startswith("a (embedded): SUPPORTED 1.25 [1, 1.5] -> REFUTED")
    assert main(["diff", "HEAD", VERDICTS]) == 0
    assert main(["diff", "HEAD~2", "HEAD"]) == 13
    assert "make verify writes it" in capsys.readouterr().err
    assert main(["diff", "--", "--output=x", "HEAD"]) == 13
    assert not Path("x").exists()
