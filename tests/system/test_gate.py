"""`auditor gate`, and `auditor run` where only gates, titles or the report changed."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from system_files import CONFIG, audit_json, auditor, only_run, run_directories

from auditor.journal import Journal

RUN = ("run", "audit.toml")
HOLDS = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.5\nepsilon = 0.1\n'
BROKEN = HOLDS.replace("0.5", "0.51")


def waived(days: int) -> str:
    until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    return f'{BROKEN}until = {until}\nreason = "the camera is replaced"\n'


@pytest.fixture
def finished(here: Path) -> Path:
    """A finished run, whose model and data have gone."""
    assert auditor(*RUN)[0] == 0
    (here / "model.py").unlink()
    (here / "data.npz").unlink()
    return only_run()


@pytest.mark.parametrize(
    ("gates", "status", "verdict"),
    [
        ("", 0, "no-requirement"),
        (HOLDS, 0, "pass"),
        (BROKEN, 1, "fail"),
        (waived(0), 0, "pass"),
        (waived(-1), 1, "fail"),
        (
            '[[gate]]\nmetric = "masking"\nat_most = "possible"\nmodel = "bands"\n',
            3,
            "inconclusive",
        ),
    ],
)
def test_a_finished_run_is_judged_again(
    gates: str, status: int, verdict: str, finished: Path
) -> None:
    before = audit_json(finished)
    text = CONFIG.replace('title  = "three bands"', 'title = "for release 4"')
    text = text.replace("formats = []", 'formats = ["html"]\nreviewers = ["A. Reviewer"]')
    text = text.replace("epsilon = 0.1\n", 'epsilon = 0.1\nrationale = "a tenth of the range"\n')
    Path("other.toml").write_text(text + gates, encoding="utf-8")
    seen, said = auditor("gate", str(finished), "--config", "other.toml")
    after = audit_json(finished)
    assert (seen, after["exit_status"], after["verdict"]) == (status, status, verdict), said
    assert f"Verdict: {verdict}; exit status {status}." in said
    assert after["title"] == "for release 4"
    assert after["reviewers"] == ["A. Reviewer"]
    assert "for release 4" in (finished / "report.html").read_text(encoding="utf-8")
    (threat,) = after["models"][0]["threats"]
    assert threat["rationale"] == "a tenth of the range"
    # What was measured is what was measured.
    (old,) = before["models"][0]["threats"]
    assert {**threat, "rationale": ""} == {**old, "rationale": ""}
    lock = tomllib.loads((finished / "config.lock.toml").read_text(encoding="utf-8"))
    assert (lock["title"], lock["report"]["reviewers"]) == ("for release 4", ["A. Reviewer"])
    assert lock["threat"][0]["rationale"] == "a tenth of the range"
    # The run's own gates are those now, and a later report takes the result for what it is.
    assert auditor("gate", str(finished))[0] == status
    assert auditor("report", str(finished), "--format", "html")[0] == 0


def test_what_it_was_judged_by_before_is_kept(here: Path) -> None:
    Path("audit.toml").write_text(CONFIG + BROKEN, encoding="utf-8")
    assert auditor(*RUN)[0] == 1
    first = audit_json(only_run())
    assert first["judged_before"] == []
    # The same gates on another day are no others.
    assert auditor("gate", str(only_run()))[0] == 1
    assert audit_json(only_run())["judged_before"] == []
    html = CONFIG.replace("formats = []", 'formats = ["html"]')
    Path("other.toml").write_text(html + HOLDS, encoding="utf-8")
    assert auditor("gate", str(only_run()), "--config", "other.toml")[0] == 0
    Path("audit.toml").write_text(CONFIG + waived(1), encoding="utf-8")
    assert auditor(*RUN)[0] == 0
    (only,) = run_directories()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    kept = audit_json(only)["judged_before"]
    assert [(one["until"], one["verdict"], one["exit_status"]) for one in kept] == [
        (today, "fail", 1),
        (today, "pass", 0),
    ]
    assert kept[0]["gates"] == first["gates"]
    assert auditor("report", str(only), "--format", "html")[0] == 0
    page = " ".join((only / "report.html").read_text(encoding="utf-8").split())
    assert "the verdict by the gates before them was PASS" in page
    assert page.count("at least 51.0 % is asked for") > page.count("It is waived until") > 0
    assert page.count("at least 50.0 % is asked for, and it is 50.0 %") == 1


def test_reports_of_the_judgement_before_are_told(here: Path) -> None:
    Path("audit.toml").write_text(CONFIG.replace("formats = []", 'formats = ["html"]'))
    said = auditor(*RUN)[1]
    assert "not written anew" not in said
    status, said = auditor("gate", str(only_run()), "--set", "report.formats=[]")
    assert (status, "warning: not written anew: report.html." in said) == (0, True)
    Path("audit.toml").write_text(CONFIG + HOLDS, encoding="utf-8")
    status, said = auditor(*RUN)
    assert (status, "warning: not written anew: report.html." in said) == (0, True)
    assert len(run_directories()) == 1


def test_a_judgement_that_was_cut_off_is_gone_on_with(finished: Path) -> None:
    log = finished / "events.jsonl"
    assert auditor("gate", str(finished))[0] == 0
    seconds = Journal(finished).seconds()
    assert seconds >= audit_json(finished)["provenance"]["seconds"]
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines[-4:]] == [
        "judged again", "result", "reports", "finished",
    ]  # fmt: skip
    assert Journal(finished).ended() == "complete"
    log.write_text("\n".join(lines[:-2]), encoding="utf-8")
    assert Journal(finished).ended() is None


def test_what_was_not_audited_cannot_be_asked_for(finished: Path) -> None:
    before = (finished / "audit.json").read_bytes()
    gates = HOLDS.replace("0.1", "0.2") + 'model = "band"\n'
    Path("other.toml").write_text(CONFIG + gates, encoding="utf-8")
    status, said = auditor("gate", str(finished), "--config", "other.toml")
    assert status == 2
    assert "has the epsilon 0.2" in said
    assert 'did you mean "bands"?' in said
    assert (finished / "audit.json").read_bytes() == before


def test_a_file_of_another_audit_is_told(finished: Path) -> None:
    Path("other.toml").write_text(CONFIG.replace("epsilon = 0.1", "epsilon = [0.1, 0.2]"))
    status, said = auditor("gate", str(finished), "--config", "other.toml")
    assert status == 0
    assert "the file has the threat linf 0.2, which was not audited" in " ".join(said.split())


def test_what_was_changed_is_not_judged(finished: Path) -> None:
    file = finished / "audit.json"
    file.write_text(file.read_text().replace('"correct": 12', '"correct": 24'))
    status, said = auditor("gate", str(finished))
    assert (status, "it was changed or damaged since" in said) == (2, True)


def test_judging_takes_no_torch(finished: Path) -> None:
    text = CONFIG.replace("formats = []", 'formats = ["html"]')
    Path("other.toml").write_text(text + HOLDS, encoding="utf-8")
    script = (
        "import sys; from auditor.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch._C' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "gate", str(finished), "--config", "other.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert (finished / "report.html").is_file()


def test_a_run_of_which_only_the_judgement_changes_is_gone_on_with(here: Path) -> None:
    assert auditor(*RUN)[0] == 0
    first, before = only_run(), audit_json(only_run())
    changed = CONFIG.replace('title  = "three bands"', 'title = "for release 4"') + BROKEN
    Path("audit.toml").write_text(changed, encoding="utf-8")
    status, said = auditor(*RUN)
    assert status == 1
    assert only_run() == first
    assert "only gates, titles or the report changed since" in " ".join(said.split())
    assert said.count("kept from before") == 2
    after = audit_json(first)
    assert (after["title"], after["verdict"]) == ("for release 4", "fail")
    rows = [audit["models"][0]["threats"] for audit in (before, after)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("change", ["nothing", "--fresh", "model", "batch size"])
def test_everything_else_is_a_new_run(change: str, here: Path) -> None:
    assert auditor(*RUN)[0] == 0
    first = only_run()
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    text = CONFIG if change == "nothing" else CONFIG + HOLDS
    text = text.replace("batch_size = 8", "batch_size = 4") if change == "batch size" else text
    Path("audit.toml").write_text(text, encoding="utf-8")
    if change == "model":
        source = Path("model.py").read_text(encoding="utf-8")
        Path("model.py").write_text(source.replace("10 / 12", "9 / 12"), encoding="utf-8")
        for name in [name for name in sys.modules if name.startswith("_audited_model_")]:
            del sys.modules[name]
    assert auditor(*RUN, *(["--fresh"] if change == "--fresh" else []))[0] == 0
    assert len(run_directories()) == 2
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_nothing_to_go_on_with_is_said(here: Path) -> None:
    status, said = auditor(*RUN, "--resume")
    assert status == 0
    assert "there is no run to go on with, so that a new one is begun" in " ".join(said.split())
