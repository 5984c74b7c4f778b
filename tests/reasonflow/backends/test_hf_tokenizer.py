"""Our rendering is transformers' rendering, without transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.errors import InputError

CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "What is 12  + 345?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "naïve café — 東京 🙂\n\n\tdef f(x):  return x"},
    ],
    [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Hi <b>&amp;</b>"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "   7 8\n 90"},
    ],
]
PLENTY = """{%- for m in messages %}
    {%- if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}
    {%- if loop.index > 8 %}{% break %}{% endif %}
    {%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}
    {%- else %}{{ pad_token + m.role + ': ' + m.content | tojson }}
    {%- endif %}
{% endfor %}
{%- if add_generation_prompt %}{{ '>' if enable_thinking is false else '<' }}{% endif %}"""


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return ModelFiles("embedded")


@pytest.fixture(scope="module")
def reference(files: ModelFiles) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(files.folder)


@pytest.mark.parametrize("chat", CHATS)
def test_a_chat_renders_to_the_ids_transformers_gives(files: ModelFiles, reference: Any, chat: Any) -> None:
    expected = reference.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert HfTokenizer(files).render(chat) == tuple(expected["input_ids"])


@pytest.mark.parametrize("chat", CHATS)
def test_every_construct_of_a_template_works_as_in_transformers(
    files: ModelFiles, reference: Any, chat: Any, tmp_path: Path
) -> None:
    ours = HfTokenizer(_copy(files.folder, tmp_path, template=PLENTY), {"enable_thinking": False})
    expected = reference.apply_chat_template(
        chat, chat_template=PLENTY, add_generation_prompt=True, tokenize=False, enable_thinking=False
    )
    assert ours.render_text(chat) == expected


def test_a_template_of_its_own_file_wins(files: ModelFiles, tmp_path: Path) -> None:
    copied = _copy(files.folder, tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    assert HfTokenizer(copied).render_text([{"role": "user", "content": "hello"}]) == "hello!"


def test_text_survives_the_round_trip(files: ModelFiles) -> None:
    tokenizer = HfTokenizer(files)
    for text in ("abc  1 23", "  leading", "東京 🙂\r\n\ttab", "<|im_start|>user\nhi<|im_end|>", "a" * 500, ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_texts_are_split_as_transformers_splits_them(files: ModelFiles, reference: Any) -> None:
    tokenizer = HfTokenizer(files)
    for text in ("red jars = 12 + 3 = 15", "abc  123", "naïve\tcafé — 東京 🙂", "\\boxed{7}<|im_end|>\n"):
        assert tokenizer.encode(text) == tuple(reference.encode(text, add_special_tokens=False))


def test_turn_markers_are_single_ids_and_named(files: ModelFiles) -> None:
    tokenizer = HfTokenizer(files)
    assert tokenizer.encode("<|im_start|>") == (2,)
    assert tokenizer.encode("<|im_end|>") == (3,)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(tokenizer.special_tokens)


def test_a_chat_the_template_refuses_is_the_callers_error(files: ModelFiles, tmp_path: Path) -> None:
    tokenizer = HfTokenizer(_copy(files.folder, tmp_path, template=PLENTY))
    with pytest.raises(InputError, match="no tools here"):
        tokenizer.render([{"role": "tool", "content": "x"}])


def test_a_template_cannot_reach_into_python(files: ModelFiles, tmp_path: Path) -> None:
    tokenizer = HfTokenizer(_copy(files.folder, tmp_path, template="{{ messages.__class__.__mro__ }}"))
    with pytest.raises(InputError):
        tokenizer.render([{"role": "user", "content": "x"}])


def test_a_base_model_without_a_template_says_so(files: ModelFiles, tmp_path: Path) -> None:
    tokenizer = HfTokenizer(_copy(files.folder, tmp_path, template=None))
    assert tokenizer.system_turns  # an engine is described without one
    for role in ("user", "system"):
        with pytest.raises(InputError, match="no chat template"):
            tokenizer.render([{"role": role, "content": "x"}])


def test_rendering_loads_neither_torch_nor_transformers(files: ModelFiles) -> None:
    script = (
        "import sys\n"
        "from reasonflow.backends.vllm import VllmBackend\n"
        "backend = VllmBackend(sys.argv[1])\n"
        "backend.tokenizer.render([{'role': 'user', 'content': 'hi'}])\n"
        "print(backend.window, backend.block_size, backend.fingerprint()['model_hash'])\n"
        "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules), 'too much'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(files.folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def _copy(folder: Path, to: Path, template: str | None = "") -> ModelFiles:
    """The model's small files elsewhere, with another chat template ("" keeps its own, None takes it away)."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, to / name)
    if template != "":
        settings = json.loads((to / "tokenizer_config.json").read_text())
        settings["chat_template"] = template
        (to / "tokenizer_config.json").write_text(json.dumps(settings))
    return ModelFiles(str(to))
