"""Both masks say the same, and several tries in a row stay apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from reasonflow.backends.model_files import ModelFiles  # noqa: E402
from reasonflow.optimizers.trie_sft.attention import FLEX, dense_mask, register, sees  # noqa: E402
from reasonflow.optimizers.trie_sft.loss import hidden_states  # noqa: E402
from reasonflow.optimizers.trie_sft.models import open_model  # noqa: E402
from reasonflow.optimizers.trie_sft.rows import pack, row_of  # noqa: E402
from reasonflow.optimizers.trie_sft.sums import trajectories  # noqa: E402
from reasonflow.optimizers.trie_sft.trie import Flat, flatten  # noqa: E402
from reasonflow.optimizers.trie_sft.units import Unit  # noqa: E402
from tests.optimizers.trie_sft.tiny import tiny, units  # noqa: E402

ids = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)
tries = st.lists(st.builds(Unit, ids, ids), min_size=1, max_size=4).map(flatten)


@settings(deadline=None)
@given(st.lists(tries, min_size=1, max_size=3), st.integers(0, 5))
def test_the_masks_are_the_ancestors_of_each_trie(several: list[Flat], padding: int) -> None:
    row = row_of(several, sum(map(len, several)) + padding)
    width = row.exits.shape[1]
    expected = torch.eye(width, dtype=torch.bool)
    start = 0
    for trie in several:
        for node in range(len(trie)):
            above = node
            while above >= 0:
                expected[start + node, start + above] = True
                above = int(trie.parent[above])
        start += len(trie)
    assert torch.equal(dense_mask(row.exits)[0, 0], expected)
    places = torch.arange(width)
    rule, none = sees(row.exits), torch.tensor(0)
    assert torch.equal(rule(none, none, places[:, None], places[None, :]), expected)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention as torch computes it without a compiler, which a processor may not have."""
    from torch.nn.attention import flex_attention
    from transformers.integrations import flex_attention as integration

    def plainly(query: Any, key: Any, value: Any, training: bool = False, **options: Any) -> Any:
        del training
        return flex_attention.flex_attention(query, key, value, **options)

    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(integration, "compile_friendly_flex_attention", plainly)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kind", ["Qwen3", "Llama"])
def test_flex_attention_gives_what_the_dense_mask_gives(kind: str, tmp_path: Path) -> None:
    several = [flatten(units(row)) for row in trajectories(2)]
    used = sum(map(len, several))
    row = row_of(several, -(-used // 128) * 128)
    model = open_model(ModelFiles(str(tiny(kind, tmp_path)))).eval()
    register()
    with torch.no_grad():
        dense = hidden_states(model, row)[:used]
        model.config._attn_implementation = FLEX
        flexible = hidden_states(model, row)[:used]
    torch.testing.assert_close(flexible, dense, atol=2e-5, rtol=0)


@pytest.mark.usefixtures("uncompiled")
def test_flex_attention_takes_what_autocast_mixes(tmp_path: Path) -> None:
    row = row_of([flatten(units(trajectories(1)[0]))])
    model = open_model(ModelFiles(str(tiny("Qwen3", tmp_path)))).eval()
    register()
    model.config._attn_implementation = FLEX
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = hidden_states(model, row)
    with torch.no_grad():
        exact = hidden_states(model, row)
    assert float((rounded - exact).abs().mean()) < 0.05 * float(exact.abs().mean())


@settings(deadline=None)
@given(st.lists(tries, min_size=1, max_size=9), st.integers(40, 90))
def test_packing_keeps_every_trie_whole_and_once(several: list[Flat], width: int) -> None:
    rows = pack(several, width)
    assert sorted(map(id, several)) == sorted(id(trie) for row in rows for trie in row)
    assert all(sum(map(len, row)) <= width for row in rows)
    assert len(rows) <= 1 + 2 * sum(map(len, several)) // width
