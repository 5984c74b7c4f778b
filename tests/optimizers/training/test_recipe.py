"""Recipes are data: totals, a learning rate's way, the same in small."""

from __future__ import annotations

import pytest

from reasonflow.optimizers.training.recipe import RECIPES, Draft, Train


@pytest.mark.parametrize("name", RECIPES)
def test_the_rate_rises_stays_and_falls(name: str) -> None:
    recipe = RECIPES[name]
    last = recipe.tokens
    assert recipe.scale(0) < 0.01
    assert recipe.scale(recipe.warmup) == 1.0
    assert recipe.scale(last) == 0.05
    falling = [recipe.scale(int(last * part / 20)) for part in range(10, 21)]
    assert falling == sorted(falling, reverse=True)
    assert 0.05 < recipe.scale(int(last * (1 - recipe.decay / 2))) < 1.0


@pytest.mark.parametrize("name", RECIPES)
def test_drafts_are_written_before_they_are_read(name: str) -> None:
    written: set[str] = set()
    for stage in RECIPES[name].stages:
        if isinstance(stage, Draft):
            written.add(stage.name)
        elif stage.drafts:
            assert stage.drafts in written


def test_scaled_recipes_keep_their_stages() -> None:
    recipe = RECIPES["embedded"]
    small = recipe.scaled(0.001)
    assert [stage.name for stage in small.stages] == [stage.name for stage in recipe.stages]
    assert small.tokens == pytest.approx(recipe.tokens / 1000, rel=0.01)
    assert all(stage.questions >= 1 for stage in small.stages if isinstance(stage, Draft))
    assert all(stage.tokens >= 1 for stage in recipe.scaled(1e-12).stages if isinstance(stage, Train))
