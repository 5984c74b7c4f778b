"""A reward model as a verifier, with a tiny random one that the test builds itself."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError

WORDS = ["<pad>", "<unk>", "<user>", "<bot>", "one", "two", "three", "four", "five", "which", "number", "problem"]
TURN = "{{ '<user> ' if turn['role'] == 'user' else '<bot> ' }}{{ turn['content'] }} "
TEMPLATE = "{% for turn in messages %}" + TURN + "{% endfor %}"


def build(folder: Path, *, template: str | None = None, pad: bool = True, labels: int = 1) -> Path:
    """A classifier of two tiny layers with random weights, and a tokenizer of a dozen words."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", **({"pad_token": "<pad>"} if pad else {})}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **special)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        num_labels=labels,
        pad_token_id=0 if pad else None,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("reward"))


def alone(folder: Path, text: str) -> float:
    """The reward of one text, without our code."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return float(AutoModelForSequenceClassification.from_pretrained(folder)(input_ids=tokens).logits[0, 0])


CANDIDATES = ["one", "two three four five", "three three", "five four one two one"]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_score_as_each_text_alone(folder: Path, batch_size: int) -> None:
    scores = rf.RewardModel(str(folder), batch_size=batch_size).score({"problem": "which number"}, CANDIDATES)
    expected = [alone(folder, f"which number {text}") for text in CANDIDATES]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in expected}) == 4


def test_the_models_own_chat_format_is_used(tmp_path: Path) -> None:
    model = build(tmp_path, template=TEMPLATE)
    (score,) = rf.RewardModel(str(model)).score({"problem": "which number"}, ["one two"])
    assert score == pytest.approx(alone(model, "<user> which number <bot> one two"), abs=1e-5)


def test_without_a_padding_token_texts_are_scored_one_by_one(tmp_path: Path) -> None:
    model = build(tmp_path, pad=False)
    scores = rf.RewardModel(str(model)).score({"problem": "which"}, CANDIDATES)
    assert scores == pytest.approx([alone(model, f"which {text}") for text in CANDIDATES], abs=1e-5)


def test_holes_keep_their_places(folder: Path) -> None:
    first, hole, last = rf.RewardModel(str(folder)).score({"problem": "which"}, ["one", None, "two"])
    assert hole is None
    assert [first, last] == pytest.approx([alone(folder, "which one"), alone(folder, "which two")], abs=1e-5)
    assert rf.RewardModel(str(folder)).score({"problem": "which"}, [None]) == [None]


def test_several_inputs_are_named(folder: Path) -> None:
    (score,) = rf.RewardModel(str(folder)).score({"problem": "which", "hint": "two"}, ["one"])
    assert score == pytest.approx(alone(folder, "Problem: which Hint: two one"), abs=1e-5)


def test_best_of_n_takes_the_highest_reward_and_says_what_was_cut(folder: Path) -> None:
    texts = [r"\boxed{one}", r"two \boxed{two}", r"three four five \boxed{three}"]
    verifier = rf.RewardModel(str(folder), max_tokens=4)
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: texts[index])):
        out = rf.BestOfN(n=3, verifier=verifier)(problem="which number")
    rewards = [alone(folder, " ".join(f"which number {text}".split()[-4:])) for text in texts]
    assert out.answer == ["one", "two", "three"][rewards.index(max(rewards))]
    assert any("1 of 3 candidates were cut from the left to 4 tokens" in repair for repair in out.run.repairs)


def test_copies_share_the_model_and_files_leave_it_out(folder: Path) -> None:
    model = rf.RewardModel(str(folder))
    before = model.score({"problem": "which"}, ["one"])
    assert copy.deepcopy(model) is model
    restored = pickle.loads(pickle.dumps(model))
    assert restored._loaded is None
    assert restored.score({"problem": "which"}, ["one"]) == before
    assert rf.BestOfN(n=2, verifier=model).deepcopy().verifier is model


def test_a_model_of_two_labels_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 labels"):
        rf.RewardModel(str(build(tmp_path, labels=2))).score({"problem": "which"}, ["one"])


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        rf.RewardModel(str(tmp_path)).score({"problem": "which"}, ["one"])


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"batch_size": 0}])
def test_sizes_are_positive(options: Any) -> None:
    with pytest.raises(InputError, match="is 0"):
        rf.RewardModel("nowhere", **options)


def test_torch_is_loaded_when_it_is_used() -> None:
    script = (
        "import sys, reasonflow as rf; p = rf.BestOfN(verifier=rf.RewardModel('nowhere')); p.explain(); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers"} & set(loaded)
