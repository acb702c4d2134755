from __future__ import annotations

from pathlib import Path

import pytest
from config_texts import FULL, MINIMAL, Load

from auditor.config import AuditConfig, Epsilon, GateConfig, NormalizeConfig, load_config
from auditor.errors import ConfigError, LoadError
from auditor.registry import load_registry


def test_every_key_is_honoured(load: Load, directory: Path) -> None:
    config = load(FULL)
    assert (config.title, config.profile) == ("Classifier, release candidate 3", "thorough")
    assert config.path == directory / "other.toml"
    assert config.directory == directory
    run = config.run
    assert (run.seed, run.device, run.threads, run.batch_size) == (7, "cuda:1", 4, 256)
    assert (run.executor, run.time_budget) == ("local", 5400)
    assert config.output == directory / "out/audits"
    first, second = config.models
    assert (first.name, first.factory) == ("distilled", "model.py:build.cnn")
    assert first.paths["factory"] == directory / "model.py"
    assert first.kwargs == {"width": 32, "stages": [1, {"depth": 2}]}
    assert first.paths["weights"] == directory / "weights/a.safetensors"
    assert first.weights == "weights/a.safetensors"
    assert (first.outputs, first.precision) == ("logits", "bfloat16")
    assert first.normalize == NormalizeConfig(mean=[0.286], std=[1.0])
    assert second.paths == {"factory": "package.models"}
    assert config.data.parameters == {"path": str(directory / "images.npz")}
    assert config.data.written == {"path": "images.npz"}
    assert (config.data.samples, config.data.expected_accuracy) == (500, 0.92)
    linf, l2 = config.threats
    assert [epsilon.text for epsilon in linf.epsilons] == ["2/255", "0.01", "8/255"]
    assert linf.rationale == "half a grey level survives the camera pipeline"
    assert l2.epsilons == (Epsilon(1.0, "1"),)
    assert [attack.label for attack in config.attacks] == ["pgd-100", "pgd"]
    assert config.attacks[0].parameters["step_size"] == 1 / 255
    assert config.attacks[1].parameters["steps"] == 40
    assert not config.attacks_from_profile
    report, plugins = config.report, config.plugins
    assert (report.formats, report.gallery) == (["pdf"], 0)
    assert (report.language, report.reviewers) == ("zh", ["A. Reviewer", "B. Reviewer"])
    (track,) = config.tracks
    assert track.parameters == {"uri": "sqlite:///audits.db", "experiment": "auditor"}
    assert (plugins.paths, plugins.disable) == (["corner.py"], ["noise"])


def test_gates_and_the_implied_one(load: Load) -> None:
    accuracy, masking, implied = load(FULL).gates
    assert accuracy == GateConfig(
        metric="robust_accuracy", at_least=0.4, model="distilled", norm="linf", epsilon="16/510"
    )
    assert accuracy.size == 8 / 255
    assert (masking.model, masking.at_most) == ("plain", "none")
    # The other model has no word on masking of its own.
    assert (implied.metric, implied.model, implied.at_most) == ("masking", "distilled", "possible")
    everywhere = FULL.replace('model   = "plain"\n', "")
    assert [gate.at_most for gate in load(everywhere).gates] == [None, "none"]
    (alone,) = load().gates
    assert (alone.metric, alone.at_most, alone.model) == ("masking", "possible", None)


def test_defaults(load: Load, directory: Path) -> None:
    config = load()
    assert (config.title, config.profile) == ("cnn", "standard")
    run = config.run
    assert (run.seed, run.device, run.threads, run.batch_size) == (0, "auto", "auto", "auto")
    assert (config.output, run.executor, run.time_budget) == (directory / "audits", "local", None)
    (model,) = config.models
    assert (model.name, model.kwargs, model.weights) == ("cnn", {}, None)
    assert (model.outputs, model.precision, model.normalize) == ("auto", "auto", None)
    assert (config.data.samples, config.data.expected_accuracy) == (None, None)
    assert (config.report.formats, config.report.gallery) == (["html", "pdf"], 12)
    assert config.report.language == "en"
    profile = load_registry().profiles["standard"]
    assert [check.use for check in config.checks] == [check["use"] for check in profile.checks]
    assert all(check.from_profile for check in config.checks)


@pytest.mark.parametrize("name", ["quick", "standard", "thorough"])
def test_profile_is_expanded_with_every_parameter(load: Load, name: str) -> None:
    registry = load_registry()
    config = load(MINIMAL, f"profile={name}")
    entries = registry.profiles[name].attacks
    assert [attack.use for attack in config.attacks] == [entry["use"] for entry in entries]
    assert config.attacks_from_profile
    for attack, entry in zip(config.attacks, entries, strict=True):
        names = [parameter.name for parameter in registry.attacks[attack.use].parameters]
        assert list(attack.parameters) == names
        assert attack.parameters.items() >= {k: entry[k] for k in names if k in entry}.items()


def test_no_attacks_is_not_the_profile(load: Load) -> None:
    config = load("attack = []\ncheck = []\n" + MINIMAL)
    assert config.attacks == ()
    assert not config.attacks_from_profile


def test_disabling_an_attack_leaves_it_out_of_the_profile(load: Load) -> None:
    config = load(MINIMAL, 'plugins.disable=["noise"]')
    assert "noise" not in [attack.use for attack in config.attacks]
    assert config.left_out == ("noise",)
    whole = load(MINIMAL, 'plugins.disable=["fgsm"]')  # the plugin that offers r-fgsm too
    assert whole.left_out == ("fgsm", "r-fgsm")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h1m1s", 3661)]
)
def test_time_budget(load: Load, text: str, seconds: int) -> None:
    assert load(MINIMAL, f"run.time_budget={text}").run.time_budget == seconds


@pytest.mark.parametrize(
    ("written", "value", "text"),
    [('"8/255"', 8 / 255, "8/255"), ("0.1", 0.1, "0.1"), ('"0.1"', 0.1, "0.1"), ("1", 1.0, "1")],
)
def test_epsilon_is_exact(load: Load, written: str, value: float, text: str) -> None:
    (epsilon,) = load(MINIMAL, f"threat.epsilon={written}").threats[0].epsilons
    assert (epsilon.value, epsilon.text) == (value, text)


def test_overrides(load: Load) -> None:
    config = load(
        FULL,
        "run.seed=1",
        "run.seed=3",  # the last one counts
        "run.device=cpu",
        "model.1.name=other model",
        "gate.1.model=other model",
        "model.1.kwargs.width=64",
        'threat.1={ norm = "l1", epsilon = 2 }',
        "attack.2.use=fgsm",
    )
    assert (config.run.seed, config.run.device) == (3, "cpu")
    assert config.models[1].name == "other model"
    assert config.models[1].kwargs == {"width": 64}
    assert config.threats[1].norm == "l1"
    assert [attack.use for attack in config.attacks] == ["pgd", "pgd", "fgsm"]
    assert load(MINIMAL, "model.name=mine").title == "mine"
    assert load(MINIMAL, 'attack={ use = "pgd" }').attacks[0].use == "pgd"
    assert load(MINIMAL, "attack.0.use=pgd", "attack.0.steps=3").attacks[0].parameters["steps"] == 3


def test_byte_order_mark_and_windows_lines(directory: Path) -> None:
    path = directory / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_config(path)[0].title == "cnn"
    path.write_bytes(MINIMAL.replace("8/255", "0").replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError, match=r"windows.toml:12 \(threat.epsilon\)"):
        load_config(path)


def test_broken_installed_plugin(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It matters only to who needs what may be in it."""

    class Entry:
        name, value, module, dist = "sidesteps", "sidesteps_missing", "sidesteps_missing", None

        def load(self) -> None:
            raise ImportError("no such library")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    assert isinstance(load(), AuditConfig)
    with pytest.raises(LoadError, match='plugin "sidesteps" is broken: ImportError'):
        load(MINIMAL, "attack.0.use=sidestep")
    with pytest.raises(ConfigError) as typo:
        load(MINIMAL, "attack.0.use=pgdd")
    assert typo.value.exit_status == 2
    assert 'did you mean "pgd"?; plugin "sidesteps" is broken' in typo.value.render()


def test_faults_that_follow_from_another_are_not_reported(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(FULL, "plugins.paths=corner.py", "model.0.name=3", "threat.1.epsilon=0",
             "attack.0={use='corner'}", "gate.1.model=elsewhere")  # fmt: skip
    assert len(caught.value.problems) == 3


def test_texts_that_no_page_has_room_for_are_refused(load: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load(MINIMAL, f"title='{'n' * 200_000}'", f"threat.rationale='{'n' * 5_001}'")
    said = str(raised.value.render())
    assert "it has 200,000 letters: shorten it to 500" in said
    assert "it has 5,001 letters: shorten it to 5,000" in said
    assert len(said) < 2_000
