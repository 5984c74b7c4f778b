"""A learner learns, goes on from its saved state as if nothing had happened, and shrugs at rows without a lesson."""

from __future__ import annotations

import io
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from reasonflow.optimizers.training.learner import Learner  # noqa: E402
from reasonflow.optimizers.training.packing import IGNORED, Rows, batches  # noqa: E402
from reasonflow.optimizers.training.shape import Shape  # noqa: E402
from tests.optimizers.training.counting import COUNTING, END  # noqa: E402

SHAPE = Shape(layers=1, hidden=64, heads=1, kv_heads=1, ffn=64, vocabulary=16)


def learner(seed: int = 0) -> Learner:
    return Learner(SHAPE.build(end=END, attention="sdpa", seed=seed), lr=3e-3)


def some_rows(count: int) -> list[Rows]:
    stream = batches(COUNTING, "count", seed=0, rows=2, width=128, workers=0)
    return [next(stream) for _ in range(count)]


def steps(made: Learner, rows: list[Rows]) -> list[float]:
    return [float(made.step(each, 1.0)) for each in rows]


def test_twenty_steps_are_ten_and_ten_more() -> None:
    rows = some_rows(20)
    at_once = learner()
    losses = steps(at_once, rows)
    first = learner()
    begun = steps(first, rows[:10])
    kept = io.BytesIO()
    torch.save(first.state(), kept)
    kept.seek(0)
    second = learner(seed=9)
    second.restore(torch.load(kept, weights_only=True))
    assert begun + steps(second, rows[10:]) == losses
    assert losses[-1] < losses[0]
    for name, weight in at_once.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_the_loss_is_the_mean_over_learned_tokens() -> None:
    made, (rows,) = learner(), some_rows(1)
    logits = made.model(
        input_ids=rows.tokens, attention_mask=_mask(rows), position_ids=rows.positions.long(), use_cache=False
    ).logits
    chances = logits.log_softmax(-1)
    learned = rows.labels != IGNORED
    expected = -chances[learned].gather(1, rows.labels[learned].long()[:, None]).mean()
    torch.testing.assert_close(made.loss(rows), expected)


def test_a_token_counts_by_its_weight() -> None:
    made, (rows,) = learner(), some_rows(1)
    heavy = rows.weights.clone()
    heavy[1] *= 3
    one, other = (rows._replace(labels=rows.labels.clone()) for _ in range(2))
    one.labels[1], other.labels[0] = IGNORED, IGNORED
    alone = [made.loss(each._replace(weights=(each.labels != IGNORED).float())) for each in (one, other)]
    size = [float((each.labels != IGNORED).sum()) for each in (one, other)]
    expected = (alone[0] * size[0] + 3 * alone[1] * size[1]) / (size[0] + 3 * size[1])
    torch.testing.assert_close(made.loss(rows._replace(weights=heavy)), expected)


def test_rows_without_a_learned_token_leave_the_weights_numbers() -> None:
    made, (rows,) = learner(), some_rows(1)
    blank = rows._replace(labels=torch.full_like(rows.labels, IGNORED))
    assert float(made.step(blank, 1.0)) == 0
    assert float(made.step(rows, 1.0)) > 0
    assert all(bool(weight.isfinite().all()) for weight in made.model.state_dict().values())


def _mask(rows: Rows) -> Any:
    same = rows.documents[:, :, None] == rows.documents[:, None, :]
    return (same & torch.ones_like(same).tril())[:, None]
