"""What the README and docs/ tell to type exists: stages, options, files, states, and links between the pages."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import yaml

from harness.__main__ import _parser
from harness.artifacts.closure import ROOT
from harness.evidence.decide import State
from harness.params.load import check_params, load_params
from harness.params.models import Embeddings, Released
from harness.verdicts import record, show

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.name: page.read_text() for page in PAGES}


@pytest.mark.parametrize("page", TEXT)
def test_commands_parse(page: str) -> None:
    commands = re.findall(r"(?:python -m|torchrun \S+ \d+ -m) harness ([\w ./-]+?)(?:`|\n| +#| \.\.\.)", TEXT[page])
    for command in commands:
        words = ["m" if word == "NAME" else word for word in command.split()]
        if words[0] != "diff":
            _parser().parse_args(words)
    without = ("CONTRIBUTING.md", "glossary.md", "index.md", "python.md", "verdicts.md", "write-a-claim.md")
    assert page in without or commands


@pytest.mark.parametrize("page", TEXT)
def test_files_and_folders_are_there(page: str) -> None:
    named = re.findall(r"[(`]((?:harness|tests|claims|docs|artifacts)/[\w./-]+\w/?)[)`]", TEXT[page])
    # The page is what the user writes.
    missing = [name for name in named if not (ROOT / name).exists() and not name.endswith("index.html")]
    assert missing == []


@pytest.mark.parametrize("page", TEXT)
def test_make_targets_and_profiles_are_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", TEXT[page], re.MULTILINE)) <= targets
    profiles = load_params(ROOT / "params.yaml").profiles
    assert set(re.findall(r"`?profile: \*(\w+)", TEXT[page])) <= set(profiles)
    # "ours" is no profile of this repository: the page is about another one.
    named = set(re.findall(r"--source (\w+)", TEXT[page])) - ({"ours"} if page == "write-a-claim.md" else set())
    assert named <= {*profiles, "published"}


def test_every_state_is_told() -> None:
    told = TEXT["verdicts.md"] + TEXT["judge-a-model.md"]
    assert [state for state in State if str(state) not in told] == []


def test_ways_to_name_weights_are_those_that_there_are() -> None:
    for page in ("README.md", "judge-a-model.md"):
        named = set(re.findall(r"\{(\w+): (?:[\w./]+|\.\.\.)", TEXT[page])) - {"architecture", "objective"}
        assert named <= {*Released.model_fields, *Embeddings.model_fields}
        assert {"file", "url", "timm", "hub"} <= named


def test_models_that_are_offered_can_be_put_into_params() -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT["paper-scale.md"], re.DOTALL)
    offered = yaml.safe_load(block)
    raw["models"] |= offered
    raw["profiles"]["laptop"]["models"] += list(offered)
    known = check_params(raw, "params.yaml")
    assert {"dino_timm", "mae_timm"} <= set(offered) <= set(known.at("laptop"))
    for name in offered:
        architecture, released = known.architecture(name, "laptop"), known.weights(name, "laptop")
        assert isinstance(released, Released)
        assert released.licence
        assert timm.is_model(architecture.name)
        # Weights of timm are of the architecture that is built for them.
        assert not released.timm or released.timm.startswith(f"{architecture.name}.")
        assert not released.timm or timm.get_pretrained_cfg(released.timm)


def test_accuracies_in_the_readme_are_the_measured_ones() -> None:
    """20-NN is one quantity everywhere: that of the final token on validation images."""
    measured = json.loads((ROOT / "artifacts/embedded/report/metrics.json").read_text())
    own = {model: 100 * values["cls"] for model, values in measured["knn"].items() if "cls" in values}
    readme = " ".join(TEXT["README.md"].split())

    def span(models: list[str]) -> str:
        return " to ".join(f"{limit([own[model] for model in models]):.0f}" for limit in (min, max))

    shown = {
        "MoCo-v3": span(["moco_v3", "moco_v3_1", "moco_v3_2"]),
        "DINO": span(["dino", "dino_1", "dino_2"]),
        "MAE": span(["mae", "mae_1", "mae_2"]),
        "untrained": span(["random", "random_learned"]),
        "trained with labels": f"{own['supervised']:.0f}",
        "raw pixels": f"{100 * measured['knn_pixels']:.0f}",
    }
    assert f"| range over runs | {' | '.join(shown)} |" in readme
    assert f"| 20-NN accuracy of the final CLS token, % | {' | '.join(shown.values())} |" in readme
    assert f"Fine-tuning (20-NN accuracy {span([model for model in own if model.endswith('_ft')])} %)" in readme
    rows = re.findall(r"^\| ([\w -]+?)(?:, three runs)? \| \d+ \| ([\d., ]+) \|$", TEXT["training.md"], re.MULTILINE)
    names = {
        "MoCo-v3": "moco_v3",
        "DINO": "dino",
        "DINO without multi-crop": "dino_nomc",
        "MoCo-v3 without flips": "moco_v3_no_flip",
        "MSN": "msn",
        "VICReg": "vicreg",
        "MAE": "mae",
    }
    assert {name for name, _ in rows} == set(names)
    for name, said in rows:
        runs = [run for run in (names[name], f"{names[name]}_1", f"{names[name]}_2") if run in own]
        assert said == ", ".join(f"{own[run]:.1f}" for run in runs)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
    assert all(f"docs/{Path(page).name}" in TEXT["README.md"] for page in TEXT if page not in ("README.md", "CONTRIBUTING.md"))


@pytest.mark.parametrize(("advantage", "state"), [(40, "SUPPORTED"), (-8, "REFUTED"), (5, "INCONCLUSIVE")])
def test_the_claim_of_another_repository_is_decided(tmp_path: Path, advantage: int, state: str) -> None:
    """The files of the page, as they stand there, in a folder that has nothing else."""
    page = (ROOT / "docs" / "write-a-claim.md").read_text()
    files = dict(re.findall(r"`(pytest\.ini|test_ours\.py)`:\n```\w+\n(.*?)```", page, re.DOTALL))
    assert len(files) == 2
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # 200 images: both are right in 100, ours besides in some, the baseline in as many others but for the advantage.
    rows = ["1,1"] * 100 + ["1,0"] * (10 + advantage) + ["0,1"] * 10 + ["0,0"] * (80 - advantage)
    (tmp_path / "outcomes.csv").write_text("\n".join(["ours,baseline", *rows]))
    command = re.search(r"`(pytest --source ours --verdicts verdicts\.json)`", page)
    assert command is not None
    done = subprocess.run(
        [sys.executable, "-m", *command[1].split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (verdict,) = json.loads((tmp_path / "verdicts.json").read_text())
    assert (verdict["id"], verdict["source"], verdict["state"]) == ("ours-better", "ours", state), done.stdout
    assert verdict["estimate"] == pytest.approx(advantage / 200)
    digest = hashlib.sha256((tmp_path / "outcomes.csv").read_bytes()).hexdigest()
    assert verdict["provenance"]["artifacts"] == {"outcomes.csv": digest}
    assert done.returncode == (1 if state == "REFUTED" else 0), done.stdout
    assert f"{state}" in done.stdout


def test_counts_in_the_readme_are_those_of_the_verdicts() -> None:
    records = json.loads((ROOT / "artifacts/verdicts.json").read_text())
    readme = " ".join(TEXT["README.md"].split())
    counts = {state: sum(row["state"] == state for row in records) for state in map(str, State)}
    for state, count in counts.items():
        assert not count or re.search(rf"\b{count} (are |is )?{state}\b", readme), (state, count)
    main = [row["state"] for row in records if row["rank"] == "main"]
    held, failed, open_ = (main.count(state) for state in ("SUPPORTED", "REFUTED", "INCONCLUSIVE"))
    rest = len(main) - held - failed - open_
    assert f"of the paper's {len(main)} main findings" in readme
    assert f"{held} supported, {failed} refuted, {open_} inconclusive, {rest} not decided" in readme
    known = [record.from_row(row) for row in records]
    shown = {show.numbers(one) or show.without_number(one, known) for one in known if one.rank == "main"}
    quoted = re.findall(r"^[SVIRUM][ *] .{38,40} {2,}(\S.*)$", TEXT["README.md"], re.MULTILINE)
    assert len(quoted) == 4
    assert set(quoted) <= shown


def test_every_claim_has_a_title_and_the_main_findings_are_few() -> None:
    records = json.loads((ROOT / "artifacts/verdicts.json").read_text())
    assert [record["id"] for record in records if not record["title"]] == []
    assert {record["rank"] for record in records} == {"main", "detail", "second"}
    assert all(("/" in record["id"]) == (record["rank"] == "second") for record in records)
    assert sum(record["rank"] == "main" for record in records) < 24
