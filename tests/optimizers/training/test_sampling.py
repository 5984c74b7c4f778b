"""Batched completions are those of each prompt alone."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from reasonflow.optimizers.training.examples import Question  # noqa: E402
from reasonflow.optimizers.training.sampling import for_answering, sample  # noqa: E402
from reasonflow.optimizers.training.shape import Shape  # noqa: E402

SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, ffn=96, vocabulary=64)


def model() -> Any:
    made = SHAPE.build(end=3, attention="sdpa", seed=0).eval()
    with torch.no_grad():  # peaked enough that rounding decides nothing
        for param in made.parameters():
            param.mul_(3.0 if param.ndim == 2 else 1.0)
    return made


def questions() -> list[Question]:
    draw = torch.Generator().manual_seed(1)
    lengths = (3, 17, 9, 30, 4)
    return [
        Question(str(n), torch.randint(4, 64, (length,), generator=draw).tolist()) for n, length in enumerate(lengths)
    ]


def alone(made: Any, question: Question, longest: int, stop: tuple[int, ...]) -> list[int]:
    tokens = list(question.tokens)
    for _ in range(longest):
        chosen = int(made(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
        if chosen in stop:
            break
        tokens.append(chosen)
    return tokens[len(question.tokens) :]


def test_greedy_batches_equal_single_prompts() -> None:
    made, asked = model(), questions()
    first = alone(made, asked[1], 40, ())
    stop = (first[5],)  # something that does come up
    for batch in (1, 2, 8):
        found = dict(sample(made, asked, stop=stop, longest=40, temperature=0, batch=batch))
        assert found == {question.address: alone(made, question, 40, stop) for question in asked}
    assert made.config._attn_implementation == "sdpa"


def test_a_single_token_is_a_completion_too() -> None:
    made, asked = model(), questions()
    found = dict(sample(made, asked, stop=(3,), longest=1, temperature=0))
    assert found == {question.address: alone(made, question, 1, (3,)) for question in asked}


def test_samples_differ_and_repeat_by_seed() -> None:
    made, asked = model(), [questions()[0]] * 6
    runs = [[tokens for _, tokens in sample(made, asked, stop=(3,), longest=12, seed=seed)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert len({tuple(tokens) for tokens in runs[0]}) > 1


def test_rounded_weights_leave_positions_exact() -> None:
    made = model()
    copy = for_answering(made, torch.bfloat16)
    assert {param.dtype for param in copy.parameters()} == {torch.bfloat16}
    assert {param.dtype for param in made.parameters()} == {torch.float32}
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    places = torch.arange(4096)[None]
    for mine, theirs in zip(*(each.model.rotary_emb(torch.zeros(1), places) for each in (copy, made)), strict=True):
        assert torch.equal(mine, theirs)
