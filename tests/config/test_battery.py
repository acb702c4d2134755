"""`battery = "extend"`: the file's attacks and checks beside the profile's."""

from __future__ import annotations

import tomllib

from config_texts import MINIMAL, Load

from auditor.config import config_hash, lock_text
from auditor.registry import load_registry

ADDED = """
[[attack]]
use = "square"
queries = 300

[[attack]]
use = "pgd"
restarts = 5

[[attack]]
use = "pgd"
label = "pgd-long"
steps = 200

[[check]]
use = "half-precision"

[[check]]
use = "bpda-gap"
rounds = 1
"""
QUICK = 'profile = "quick"\n'
EXTEND = 'battery = "extend"\n'


def quick(word: str) -> list[str]:
    entries = getattr(load_registry().profiles["quick"], word)
    return [entry.get("label", entry["use"]) for entry in entries]


def test_what_is_added_stands_beside_the_profile(load: Load) -> None:
    config = load(QUICK + EXTEND + MINIMAL + ADDED)
    assert [attack.label for attack in config.attacks] == [*quick("attacks"), "square", "pgd-long"]
    assert config.extends
    assert config.attacks_from_profile
    assert [a.label for a in config.attacks if not a.from_profile] == ["square", "pgd-long"]


def test_the_checks_that_only_look_back_remain_the_last(load: Load) -> None:
    names = quick("checks")
    assert names[-2:] == ["second-look", "loss-directions"]
    config = load(QUICK + EXTEND + MINIMAL + ADDED)
    labels = [check.label for check in config.checks]
    assert labels == [*names[:-2], "half-precision", *names[-2:]]


def test_the_label_of_one_of_the_profiles_changes_its_parameters(load: Load) -> None:
    plain, config = load(QUICK + MINIMAL), load(QUICK + EXTEND + MINIMAL + ADDED)
    (before,) = (attack for attack in plain.attacks if attack.label == "pgd")
    (after,) = (attack for attack in config.attacks if attack.label == "pgd")
    assert before.parameters["steps"] == 40  # the profile's, and the plugin's default is another
    assert after.parameters == {**before.parameters, "restarts": 5}
    (gap,) = (check for check in config.checks if check.use == "bpda-gap")
    assert gap.parameters["rounds"] == 1
    assert gap.from_profile


def test_replacing_is_the_default(load: Load) -> None:
    for head in (QUICK, QUICK + 'battery = "replace"\n'):
        config = load(head + MINIMAL + ADDED)
        assert [attack.label for attack in config.attacks] == ["square", "pgd", "pgd-long"]
        assert config.attacks[1].parameters["restarts"] == 5
        assert [check.label for check in config.checks] == ["half-precision", "bpda-gap"]
        assert not config.extends


def test_without_tables_extending_is_the_profile(load: Load) -> None:
    plain = load(QUICK + MINIMAL)
    for text in (QUICK + EXTEND + MINIMAL, QUICK + EXTEND + "attack = []\ncheck = []\n" + MINIMAL):
        config = load(text)
        assert config == plain
        assert not config.extends
        assert config_hash(config) == config_hash(plain)


def test_the_lock_holds_the_battery_written_out(load: Load) -> None:
    """It needs no word of how it came about; without additions, its text is what it was."""
    registry = load_registry()
    text = lock_text(load(QUICK + EXTEND + MINIMAL + ADDED), registry)
    tree = tomllib.loads(text)
    assert "battery" not in tree
    assert [attack["label"] for attack in tree["attack"]][-2:] == ["square", "pgd-long"]
    extended = load(QUICK + EXTEND + MINIMAL)
    assert lock_text(extended, registry) == lock_text(load(QUICK + MINIMAL), registry)
    assert load(text) == load(QUICK + EXTEND + MINIMAL + ADDED)
