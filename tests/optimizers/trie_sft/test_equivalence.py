"""A trie changes no logit and no gradient: the proof, on the built-in model and on small random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch.nn.functional as functional  # noqa: E402

from reasonflow.backends.model_files import ModelFiles  # noqa: E402
from reasonflow.optimizers.trie_sft.equivalence import TOLERANCE, largest_difference, paths  # noqa: E402
from reasonflow.optimizers.trie_sft.loss import hidden_states, summed_loss  # noqa: E402
from reasonflow.optimizers.trie_sft.models import open_model  # noqa: E402
from reasonflow.optimizers.trie_sft.rows import row_of  # noqa: E402
from reasonflow.optimizers.trie_sft.sums import trajectories  # noqa: E402
from reasonflow.optimizers.trie_sft.trie import flatten  # noqa: E402
from reasonflow.optimizers.trie_sft.units import Unit  # noqa: E402
from tests.optimizers.trie_sft.tiny import tiny, units  # noqa: E402


@pytest.fixture(params=["embedded", "Qwen3", "Qwen2", "Llama"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    name = request.param
    return open_model(ModelFiles(name if name == "embedded" else str(tiny(name, tmp_path)))).eval()


def test_each_unit_has_the_logits_it_has_alone(model: Any) -> None:
    # Measured: 1.2e-4 at most on the built-in model, whose logits go up to 31, and 6e-7 on the others.
    allowed = TOLERANCE if model.config.hidden_size > 32 else TOLERANCE / 20
    for row in trajectories(2, seed=1):
        assert largest_difference(model, units(row)) < allowed


def test_the_comparison_can_fail(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from reasonflow.optimizers.trie_sft import loss

    def causal(exits: Any) -> Any:
        return torch.ones(exits.shape[1], exits.shape[1], dtype=torch.bool).tril()[None, None]

    monkeypatch.setattr(loss, "dense_mask", causal)
    assert largest_difference(model, units(trajectories(1, seed=1)[0])) > 100 * TOLERANCE


def test_tries_side_by_side_have_the_logits_they_have_alone(model: Any) -> None:
    several = [flatten(units(row)) for row in trajectories(2, seed=2)]
    with torch.no_grad():
        together = model.lm_head(hidden_states(model, row_of(several)))
        alone = [model.lm_head(hidden_states(model, row_of([trie]))) for trie in several]
    torch.testing.assert_close(together, torch.cat(alone), atol=TOLERANCE, rtol=0)


def losses_of_units(model: Any, several: tuple[Unit, ...]) -> list[Any]:
    """Cross-entropy of each learned token from the units alone, a token that units share counted once."""
    found, seen = [], set()
    for unit, path in zip(several, paths(flatten(several), several), strict=True):
        logits = model(input_ids=torch.tensor([unit.tokens]), use_cache=False).logits[0]
        for place in range(len(unit.context), len(unit.tokens)):
            if path[place] not in seen:
                seen.add(path[place])
                found.append(functional.cross_entropy(logits[place - 1], torch.tensor(unit.tokens[place])))
    return found


def test_gradients_are_those_of_the_units_with_shared_tokens_once(model: Any) -> None:
    several = units(trajectories(1, seed=4)[0])
    expected = torch.stack(losses_of_units(model, several))
    expected.mean().backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    row = row_of([flatten(several)])
    assert len(row.labels) == len(expected) < sum(len(unit.completion) for unit in several)
    loss = summed_loss(model, row) / len(row.labels)
    loss.backward()
    torch.testing.assert_close(loss, expected.mean(), atol=1e-5, rtol=1e-5)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(
            weight.grad, wanted[name], atol=2e-5, rtol=1e-3, msg=lambda text, name=name: name + text
        )


def test_a_branch_is_predicted_from_its_parent_not_from_the_token_in_front(model: Any) -> None:
    # Two units that part behind their context: the second's completion stands behind the first's in the flat sequence.
    several = (Unit((5, 6), (7, 8)), Unit((5, 6), (9,)))
    row = row_of([flatten(several)])
    assert (row.labels.tolist(), row.parents.tolist()) == ([7, 8, 9], [1, 2, 1])
    with torch.no_grad():
        expected = torch.stack(losses_of_units(model, several)).sum()
        wrong = summed_loss(model, row._replace(parents=torch.tensor([1, 2, 3])))
        torch.testing.assert_close(summed_loss(model, row), expected, atol=1e-4, rtol=0)
    assert abs(float(wrong - expected)) > 1e-2
