"""What plugins can add beside attacks, checks and data, each in use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from system_files import (
    CONFIG,
    MODEL,
    attack_rows,
    audit_json,
    auditor,
    only_run,
    process,
    run_directories,
)
from system_plugins import COMMAND, NORM, REPORTS, SINKS, SURROGATES, install

from auditor.registry import COMMANDS

SHATTERED = "\n\nclass Round(Bands):\n    def forward(self, x):\n" + (
    "        return super().forward((x * 255).round() / 255)\n\n\ndef make():\n    return Round()\n"
)


def test_a_norm_is_a_threat_like_any_other(here: Path) -> None:
    Path("norm.py").write_text(NORM)
    levels = CONFIG.replace('"linf"', '"levels"').replace("= 0.1", "= 25.5")
    Path("audit.toml").write_text(levels.replace("formats = []", 'formats = ["html"]'))
    status, said = auditor("run", "audit.toml", "-p", "norm.py")
    assert status == 0, said
    threat = audit_json(only_run())["models"][0]["threats"][0]
    # 25.5 grey levels are 0.1 of the range, where the other norm breaks half of the images.
    assert (threat["norm"], threat["robust"]["correct"]) == ("levels", 12)
    page = (only_run() / "report.html").read_text(encoding="utf-8")
    assert "The largest change of any pixel, in grey levels. This is at most ε;" in page
    assert "levels" in auditor("list", "norms", "-p", "norm.py")[1]
    # With other code of the norm nothing is read back.
    Path("norm.py").write_text(NORM + "# changed")
    status, said = auditor("run", "audit.toml", "-p", "norm.py", "--resume")
    assert "kept from before" not in said


def test_an_attack_that_does_not_know_the_norm_is_refused(here: Path) -> None:
    Path("norm.py").write_text(NORM)
    config = CONFIG.replace('"linf"', '"levels"').replace('use = "fgsm"', 'use = "square"')
    Path("audit.toml").write_text(config)
    status, said = auditor("validate", "audit.toml", "-p", "norm.py")
    assert status == 2
    assert 'The attack "square" knows no norm of the threats (levels).' in said


def on(surrogate: str, attack: str = "fgsm") -> str:
    chosen = f'use = "{attack}"\nsurrogate = "{surrogate}"'
    return CONFIG.replace('use = "fgsm"', chosen)


def test_an_attack_runs_on_the_surrogate_that_is_named(here: Path) -> None:
    Path("audit.toml").write_text(on("thrice"))
    Path("others.py").write_text(SURROGATES)
    assert auditor("run", "audit.toml", "-p", "others.py")[0] == 0
    row = attack_rows(audit_json(only_run()))["fgsm"]
    assert row["surrogate"] == "thrice (naive, averaged over 3 draws)"
    assert row["robust"]["correct"] == 12
    # Three evaluations at each of two points on 24 images, and two for each of 12 claims.
    assert row["forwards"] == 3 * 2 * 24 + 2 * 12
    assert 'surrogate = "thrice"' in (only_run() / "config.lock.toml").read_text()


def test_the_repaired_model_has_the_gradient_that_the_model_lacks(here: Path) -> None:
    Path("model.py").write_text(MODEL + SHATTERED)
    found = {}
    for name, text in {"own": CONFIG, "repaired": on("repaired")}.items():
        Path(f"{name}.toml").write_text(text)
        auditor("run", f"{name}.toml", "--set", f"run.output={name}")
        (directory,) = Path(name).iterdir()
        found[name] = attack_rows(audit_json(directory))["fgsm"]
    assert found["own"]["robust"]["correct"] == 24
    assert found["repaired"]["robust"]["correct"] == 12
    assert found["repaired"]["surrogate"] == "naive, repaired"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", "the surrogate raises failed: OSError: no weights (at others.py:13)"),
        ("other-thing", "the surrogate other-thing failed: TypeError: it returned Victim, not a "
         "Surrogate"),
    ],
)  # fmt: skip
def test_a_surrogate_that_fails_costs_its_row(name: str, reason: str, here: Path) -> None:
    Path("audit.toml").write_text(on(name))
    Path("others.py").write_text(SURROGATES)
    status, said = auditor("run", "audit.toml", "-p", "others.py")
    rows = attack_rows(audit_json(only_run()))
    assert (status, rows["fgsm"]["status"], rows["fgsm"]["reason"]) == (3, "error", reason)
    assert rows["noise"]["status"] == "done"
    assert reason in said


def test_an_unknown_surrogate_is_a_fault_of_the_file(here: Path) -> None:
    Path("audit.toml").write_text(on("repared"))
    status, said = auditor("run", "audit.toml")
    assert status == 2
    assert 'There is no surrogate called "repared".' in said
    assert 'did you mean "repaired"?' in said
    assert "attack.0.surrogate" in said


def test_reports_and_sections(here: Path) -> None:
    Path("reports.py").write_text(REPORTS)
    formats = 'report.formats=["html", "csv", "broken-format"]'
    status, said = auditor("run", "audit.toml", "-p", "reports.py", "--set", formats)
    directory = only_run()
    assert status == 0
    assert (directory / "accuracies.csv").read_text() == "bands,linf,12\n"
    assert "The report format 'broken-format' failed: FileNotFoundError" in said
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "Deployment &lt;notes&gt;" in page
    assert "<p>Audited: <b>bands</b></p>" in page
    assert "alert(1)" not in page
    assert page.count("</main>") == 1
    assert "This section could not be made.</span> <bdi>ZeroDivisionError" in page
    assert "From the plugin <bdi>reports</bdi>" in page
    (directory / "accuracies.csv").unlink()
    status, said = auditor("report", str(directory), "--format", "csv", "-p", "reports.py")
    assert (status, (directory / "accuracies.csv").is_file()) == (0, True)
    # A later report without the plugin is one without its sections, and says so of its format.
    assert auditor("report", str(directory), "--format", "csv")[0] == 2


def test_a_report_that_fails_has_a_status_where_it_alone_was_asked_for(here: Path) -> None:
    Path("reports.py").write_text(REPORTS)
    auditor("run", "audit.toml")
    status, said = auditor("report", str(only_run()), "--format", "broken-format,csv", "-p",
                           "reports.py")  # fmt: skip
    assert status == 4
    assert "never-written, where there is no file" in said
    assert (only_run() / "accuracies.csv").is_file()


def test_sinks_hear_everything_and_break_nothing(here: Path) -> None:
    Path("sinks.py").write_text(SINKS)
    status, said = auditor("run", "audit.toml", "-p", "sinks.py")
    assert status == 0
    heard = Path("events.txt").read_text().split()
    assert heard[:3] == ["ModelReady", "RunStarted", "CellStarted"]
    assert (heard.count("CellDone"), heard[-2:]) == (2, ["RunFinished", "ReportsWritten"])
    what = "its sink fragile was switched off: on ModelReady it raised ValueError: no connection"
    what += " (at sinks.py:9)"
    assert said.count(f"warning: plugin sinks: {what}") == 1
    (record,) = [
        it for it in audit_json(only_run())["provenance"]["plugins"] if it["name"] == "sinks"
    ]
    assert (record["status"], record["detail"]) == ("loaded", what)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an installed plugin that has a command, and one that is broken."""
    sad = "raise RuntimeError('no licence')\nNAME = 'quickstep'\n"
    install(tmp_path / "site", monkeypatch, greeting=COMMAND, sad=sad)
    return tmp_path / "site"


def test_a_command(here: Path, installed: Path) -> None:
    assert auditor("hello", "you") == (0, "hello you\n")
    status, said = auditor("--help")
    assert status == 0
    assert "  hello " in said
    status, said = auditor("hello")
    assert status == 2
    assert "Missing argument" in said


@pytest.mark.parametrize(
    ("trouble", "status", "says"),
    [("known", 4, "error: The greeting is lost."), ("unknown", 5, "defect of the plugin greeting")],
)
def test_a_command_that_fails(
    trouble: str, status: int, says: str, here: Path, installed: Path
) -> None:
    seen, said = auditor("hello", "you", "--trouble", trouble)
    assert (seen, says in said) == (status, True)


def test_an_unknown_command_tells_of_the_plugins_that_may_have_had_it(installed: Path) -> None:
    status, said = auditor("quickstep")
    assert status == 2
    assert "No such command 'quickstep'" in said
    assert "plugin sad is broken and left out: RuntimeError: no licence" in said
    assert "remedy: mend it, at acme_sad.py:1; or pip uninstall acme-audit" in said


def test_commands_are_found_without_torch(installed: Path) -> None:
    code = (
        "import sys; from auditor.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: print([n for n in ('torch._C', 'numpy._core') if n in sys.modules])"
    )
    for arguments in (["--help"], ["hello", "you"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": f"{installed}:{':'.join(sys.path)}", "PATH": ""},
        )  # fmt: skip
        assert "hello" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"


def test_our_commands_are_reserved() -> None:
    from auditor.cli.app import _COMMANDS

    assert set(_COMMANDS) <= set(COMMANDS)


def test_a_broken_plugin_that_the_file_needs_is_named(here: Path, installed: Path) -> None:
    Path("audit.toml").write_text(CONFIG.replace('"fgsm"', '"quickstep"'))
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert (
        'There is no attack called "quickstep"; plugin "sad", which names it, is broken: '
        "RuntimeError: no licence." in said
    )
    assert "remedy:   mend it, at acme_sad.py:1" in said
    assert not run_directories()


def test_a_broken_plugin_that_nobody_needs_is_told(here: Path, installed: Path) -> None:
    formats = 'report.formats=["html"]'
    status, said = auditor("run", "audit.toml", "--set", formats)
    assert status == 0
    assert "plugin sad is broken and left out: RuntimeError: no licence" in said
    assert "origin: acme-audit (entry point sad = acme_sad)" in said
    page = (only_run() / "report.html").read_text(encoding="utf-8")
    assert "RuntimeError: no licence. Remedy: mend it, at acme_sad.py:1;" in page
    rows = json.loads(process_of("list", "plugins", "--json", site=installed))
    (row,) = [row for row in rows if row["name"] == "sad"]
    assert (row["status"], row["version"]) == ("broken", "1.2")
    assert row["remedy"].startswith("mend it, at acme_sad.py:1")


def process_of(*arguments: str, site: Path) -> str:
    """Standard output alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}:{':'.join(sys.path)}")
        return process(*arguments).stdout


def test_modules_and_files_by_option_are_recorded(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a_module.py").write_text(NORM)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text(SURROGATES)
    plugins = ("-p", "a_module", "-p", "elsewhere/mine.py")
    status, said = auditor("run", "audit.toml", *plugins)
    assert status == 0, said
    lock = only_run() / "config.lock.toml"
    assert 'paths = ["a_module", "elsewhere/mine.py"]' in lock.read_text()
    provenance = audit_json(only_run())["provenance"]
    assert provenance["command"].endswith("-p a_module -p elsewhere/mine.py")
    records = {it["origin"]: it for it in provenance["plugins"]}
    for origin in ("module a_module", "mine.py"):
        assert (records[origin]["status"], len(records[origin]["sha256"])) == ("loaded", 64)


def test_a_plugin_that_is_named_and_not_there(here: Path) -> None:
    status, said = auditor("run", "audit.toml", "-p", "mine.py", "-p", "no_such_module")
    assert status == 4
    assert "command line: -p mine.py" in said
    assert 'There is no plugin file "mine.py".' in said
    assert (
        "remedy:   install what provides 'no_such_module'; or leave -p no_such_module out" in said
    )
