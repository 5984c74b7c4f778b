"""A shape counts what transformers builds."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from reasonflow.optimizers.training.recipe import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_parameters_are_those_of_the_model(name: str) -> None:
    shape = RECIPES[name].model
    model = shape.build(end=3, attention="sdpa", seed=0)
    assert shape.parameters == sum(param.numel() for param in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.max_position_embeddings == shape.window


def test_seeds_decide_the_first_weights() -> None:
    shape = replace(RECIPES["smoke"].model, vocabulary=32)
    first, again, other = (shape.build(end=3, attention="sdpa", seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
