"""Rows become tries, are left out and counted, or are refused with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.errors import InputError
from reasonflow.optimizers.trie_sft import data
from reasonflow.optimizers.trie_sft.data import Data, Reader
from reasonflow.optimizers.trie_sft.sums import trajectories
from reasonflow.optimizers.trie_sft.trie import flatten
from reasonflow.programs.trajectories import THREADWEAVER
from tests.optimizers.trie_sft.tiny import units

ROW = trajectories(1)[0]


def read(*sources: Any, longest: int = 2048, window: int | None = None, workers: int = 1) -> Data:
    tokenizer = HfTokenizer(ModelFiles("embedded"))
    end = HfTokenizer(ModelFiles("embedded")).encode("<|im_end|>")
    limits: Any = {"vocabulary": 1920, "longest": longest, "window": window}
    reader = Reader(tokenizer=tokenizer, end=end, dialect=THREADWEAVER, **limits)
    return reader.read(sources, workers)


def by_token(row: dict[str, Any]) -> dict[str, Any]:
    found = units(row)
    pairs = [{"context": list(unit.context), "completion": list(unit.completion)} for unit in found]
    return {"prompt": list(found[0].context), "units": pairs}


def test_both_forms_give_the_same_trie(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (ROW, by_token(ROW))) + "\n\n", encoding="utf-8")
    text, ids = read(path).tries
    expected = flatten(units(ROW))
    for name in ("tokens", "parent", "depth", "exit", "learned"):
        assert getattr(text, name).tolist() == getattr(ids, name).tolist() == getattr(expected, name).tolist()


def test_the_prompt_is_what_the_chat_template_makes_of_it() -> None:
    (trie,) = read(ROW).tries
    prompt = HfTokenizer(ModelFiles("embedded")).render(ROW["messages"])
    assert tuple(trie.tokens[: len(prompt)].tolist()) == prompt
    assert not trie.learned[: len(prompt)].any()
    assert trie.learned[len(prompt)]


def test_what_is_left_out_is_counted() -> None:
    rows = [
        ROW,
        {**ROW, "correct": False},
        {**ROW, "well_formed": False},
        {**ROW, "text": ROW["text"].replace("</Parallel>", "")},
        {**ROW, "text": "1 + 1 = 2\n" * 200},
        {**ROW, "text": "2", "correct": None},
    ]
    data = read(*rows, longest=900)
    assert len(data.tries) == 2
    assert data.dropped == {"wrong": 1, "not well formed": 1, "malformed": 1, "longer than 900 tokens": 1}
    with pytest.raises(InputError, match=r"no trajectory is left.*\nwhy: 1 wrong"):
        read(rows[1])


def test_a_window_is_for_each_request_not_for_the_trie() -> None:
    (trie,) = read(ROW).tries
    longest = max(len(unit.tokens) for unit in units(ROW))
    assert longest < len(trie)
    assert len(read(ROW, window=longest).tries) == 1
    data = read(ROW, {**ROW, "text": "1"}, window=longest - 1)
    assert data.dropped == {f"outside of the model's window of {longest - 1} tokens": 1}


def test_the_digest_is_of_tokens_and_of_what_is_learned() -> None:
    pair = by_token(ROW)["units"][0]
    moved = {"context": pair["context"] + pair["completion"][:1], "completion": pair["completion"][1:]}
    prompt = {"prompt": pair["context"]}
    digests = [read({**prompt, "units": [each]}).digest for each in (pair, moved)]
    assert digests[0] != digests[1]
    assert read(ROW).digest == read(by_token(ROW)).digest != digests[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON"),
        ("[1]", "it is a list"),
        ("{}", "neither 'text' nor 'units'"),
        ('{"messages": [], "text": "x"}', "'messages' is no list"),
        ('{"messages": "x", "text": "x"}', "'messages' is no list"),
        ('{"messages": [{"role": "user", "content": "x"}], "text": 1}', "'text' is no text"),
        ('{"messages": [{"role": "user", "content": "x"}], "text": "1", "correct": "yes"}', "'correct' is 'yes'"),
        ('{"prompt": [1], "units": []}', "'units' is no list"),
        ('{"units": [{"context": [1], "completion": [2]}]}', "'prompt' is no list of token ids"),
        ('{"prompt": [1], "units": [3]}', "no pair"),
        ('{"prompt": [1], "units": [{"context": [], "completion": [2]}]}', "'context' is no list"),
        ('{"prompt": [1], "units": [{"context": [1], "completion": [2.5]}]}', "'completion' is no list"),
        ('{"prompt": [1], "units": [{"context": [1], "completion": [1920]}]}', "0 to 1919"),
        ('{"prompt": [1], "units": [{"context": [1], "completion": [-1]}]}', "0 to 1919"),
        ('{"prompt": [1], "units": [{"context": [2], "completion": [3]}]}', "does not begin with the prompt"),
    ],
)
def test_a_bad_row_is_refused_with_its_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        read(path)
    assert f"{path}, line 2" in raised.value.what
    assert raised.value.fix


def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "bytes.jsonl")


def test_processes_read_the_same_and_tell_the_same_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_FEW", 2)
    path, wrong = tmp_path / "rows.jsonl", tmp_path / "wrong.jsonl"
    rows = [*trajectories(150), {**ROW, "correct": False}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    alone, beside = read(path), read(path, workers=2)
    assert (alone.digest, alone.dropped, len(alone.tries)) == (beside.digest, beside.dropped, 150)
    wrong.write_text(path.read_text(encoding="utf-8") + "{\n", encoding="utf-8")
    with pytest.raises(InputError, match="it is no JSON") as raised:
        read(wrong, workers=2)
    assert f"{wrong}, line 152" in raised.value.what
