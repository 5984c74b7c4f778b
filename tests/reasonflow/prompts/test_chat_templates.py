"""Prompts through the chat templates of several families: nothing is lost, and stages share what they both read.

The templates have each family's markers and habits, in words of our own.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dspy
import pytest

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.prompts.layouts import Layout, Lead
from reasonflow.prompts.render import PromptTemplate

_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _own_default(text: str) -> str:
    """With a system turn of the template's own where none is given."""
    return "{% if messages[0].role != 'system' %}<|im_start|>system\n" + text + "<|im_end|>\n{% endif %}" + _CHATML


TEMPLATES = {
    "qwen": _own_default("You are Qwen, and helpful."),
    "smollm": _own_default("You are SmolLM, and small."),
    "llama": (
        "{{ bos_token }}{% set given = messages[0].role == 'system' %}"
        "<|start_header_id|>system<|end_header_id|>\n\nKnowledge ends: 2023\nToday: {{ date or '26 Jul 2024' }}\n\n"
        "{{ messages[0].content if given else '' }}<|eot_id|>"
        "{% for m in messages[(1 if given else 0):] %}"
        "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "mistral": (  # the system's text goes into the last user turn
        "{{ bos_token }}{% set given = messages[0].role == 'system' %}"
        "{% for m in messages[(1 if given else 0):] %}{% if m.role == 'user' %}"
        "[INST] {{ messages[0].content + '\n\n' if given and loop.last }}{{ m.content }}[/INST]"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
    "silent": (  # leaves the system out without a word
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    ),
}
_CONTEXT = "\n".join(f"Fact {number}: {number} and {number} make {2 * number}." for number in range(60))
_READ = dspy.Signature("context, question -> answer", "Answer from the facts.")
_CHECK = dspy.Signature("context, question, claim -> verdict: float", "Say whether the claim holds.")
_LAYOUT = Layout("shared", (Lead("context", "Context"), Lead("question", "Question")))
_DEMO = {"context": "Fact: none.", "question": "How many?", "reasoning": "None is given.", "answer": "0"}


@pytest.fixture(params=TEMPLATES)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> HfTokenizer:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(ModelFiles("embedded").folder / name, tmp_path / name)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATES[request.param])
    return HfTokenizer(ModelFiles(str(tmp_path)))


def prompt(tokenizer: HfTokenizer, signature: Any, style: Any, demos: Any = (), **inputs: Any) -> Any:
    template = PromptTemplate(signature, style, demos, layout=_LAYOUT)
    return template.render({"context": _CONTEXT, "question": "What do 7 and 7 make?", **inputs}, tokenizer)


def common(one: Any, other: Any) -> int:
    """Tokens at the front that are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("demos", [(), (_DEMO,)])
def test_nothing_is_lost(tokenizer: HfTokenizer, demos: Any) -> None:
    made = prompt(tokenizer, _READ, "boxed", demos)
    text = tokenizer.decode(made.tokens)
    said = ["You are a helpful assistant.", _CONTEXT, "What do 7 and 7 make?", "Answer from the facts."]
    said += ["None is given.", "Fact: none."] if demos else []
    assert [text.count(part) for part in said] == [1] * len(said)


@pytest.mark.parametrize("demos", [(), (_DEMO,)])
def test_stages_share_all_that_both_read(tokenizer: HfTokenizer, demos: Any) -> None:
    one = prompt(tokenizer, _READ, "boxed", demos).tokens
    other = prompt(tokenizer, _CHECK, "verdict", claim="14").tokens
    fields = prompt(tokenizer, dspy.Signature("context, question -> a, b"), "fields").tokens
    both = len(tokenizer.encode(f"## Context\n{_CONTEXT}\n\n## Question\nWhat do 7 and 7 make?"))
    # A tokenizer may join the last character with what follows it.
    assert common(one, other) >= both - 1
    assert common(one, fields) >= both - 1


def test_a_template_without_a_system_turn_is_reported(tokenizer: HfTokenizer, request: pytest.FixtureRequest) -> None:
    without = request.node.callspec.params["tokenizer"] in ("gemma", "mistral", "silent")
    assert tokenizer.system_turns is not without
    text = tokenizer.render_text([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    assert ("S\n\nU" in text) is without
    alone = tokenizer.render_text([{"role": "system", "content": ""}, {"role": "user", "content": "U"}])
    assert "U" in alone
