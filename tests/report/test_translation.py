"""Texts of audit.json are taken apart into the patterns that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import synthetic_audits
from babel.messages.catalog import Catalog

from auditor import language
from auditor.report.translation import said, translated

PATTERNS = {
    "{found} of {total} images withstood {what}, and {left} are left.": (
        "{what}之后 {total} 张中有 {found} 张，剩余 {left} 张。"
    ),
    "the gradient of the {loss}": "{loss}的梯度",
    "cross-entropy": "交叉熵",
    "{count} of {total} {what}s": "{total} {what}中的 {count}",
    "image": "张图像",
    "{many} tried, out of {survivors} that had withstood": "在 {survivors} 张中试 {many}",
    "Examples made for {name} broke {gap}.": "为 {name} 制作的样本攻破了 {gap}。",
    "Gate on {metric} {state} for {model}: the verdict is {verdict}{also}.": (
        "{model} 的 {metric} 门槛{state}：结论为{verdict}{also}。"
    ),
    ", and it could be worse": "，且可能更差",
    "holds": "成立",
    "confirmed": "已确认",
    "attack the margin": "攻击间隔",
    "{sentence} It is lost at {culprit}.": "{sentence}它在 {culprit} 处丢失。",
    "Attacks broke {fell} images": "攻击攻破了{fell}图像",
    "all {all}": "全部 {all} 张",
}
SEPARATORS = {
    ".": "。",
    ", ": "，",
    "; ": "；",
    " (": "（",
    ")": "）",
    "{first} {second}": "{first}{second}",
}


@pytest.fixture(autouse=True)
def _spoken(made_up: Callable[[Catalog], str]) -> Iterator[None]:
    catalog = Catalog(locale="zh_CN")
    for text, words in PATTERNS.items():
        catalog.add(text, words, context=language.RESULT)
    for text, words in SEPARATORS.items():
        catalog.add(text, words)
    with language.speaking(made_up(catalog)):
        yield


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "3 of 1,700 images withstood the gradient of the cross-entropy, and 2 are left.",
            "交叉熵的梯度之后 1,700 张中有 3 张，剩余 2 张。",
        ),
        (
            "Examples made for margin-net broke 0 of 20 images tried, out of 6 that had withstood.",
            "为 margin-net 制作的样本攻破了在 6 张中试 20 张图像中的 0。",
        ),
        (
            "Gate on masking holds for a: the verdict is confirmed.",
            "a 的 masking 门槛成立：结论为已确认。",
        ),
        (
            "Gate on masking holds for a: the verdict is confirmed, and it could be worse.",
            "a 的 masking 门槛成立：结论为已确认，且可能更差。",
        ),
        ("Attack the margin", "攻击间隔"),
        ("cross-entropy 0 (holds; 12)", "交叉熵 0（成立；12）"),
        (
            "Attacks broke all 94 images. It is lost at F.apply at models.py:56, module holds.",
            "攻击攻破了全部 94 张图像。它在 F.apply at models.py:56, module holds 处丢失。",
        ),
        ("`attack the margin` holds", "`attack the margin` 成立"),
        ("models.py:56", "models.py:56"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_text_is_put_together_again_in_another_language(text: str, words: str) -> None:
    assert said(text).text == words
    assert said(text).missing == ()


@pytest.mark.parametrize(
    ("text", "words", "missing"),
    [
        ("attack the margin, then whatever else there is", "攻击间隔，then whatever else there is",
         "then whatever else there is"),
        ("My own check saw nothing.", "My own check saw nothing.", "My own check saw nothing"),
        ("RuntimeError: expected scalar type Float", "RuntimeError: expected scalar type Float",
         "expected scalar type Float"),
    ],
)  # fmt: skip
def test_what_has_no_translation_stays_and_is_told(text: str, words: str, missing: str) -> None:
    assert said(text).text == words
    assert said(text).missing == (missing,)


def test_of_a_result_sentences_are_translated_and_names_are_not() -> None:
    audit = synthetic_audits.small()
    model = replace(audit.models[0], name="holds")
    shown, missing = translated(replace(audit, models=(model,), reasons=("All is well here.",)))
    assert missing[0] == "All is well here"
    assert shown.models[0].name == "holds"
    assert shown.title == audit.title
    assert shown.models[0].clean == audit.models[0].clean
