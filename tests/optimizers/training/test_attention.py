"""Documents packed into one row get the logits they get alone, with either mask."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from reasonflow.optimizers.training.attention import block_mask, dense_mask  # noqa: E402
from reasonflow.optimizers.training.examples import Encoded  # noqa: E402
from reasonflow.optimizers.training.packing import pack  # noqa: E402
from reasonflow.optimizers.training.shape import Shape  # noqa: E402

SHAPE = Shape(layers=2, hidden=64, heads=2, kv_heads=1, ffn=96, vocabulary=64)
WIDTH = 256


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
@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
def test_packed_documents_do_not_see_each_other(attention: str) -> None:
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(1, 64, (length,), generator=draw).tolist() for length in (40, 3, 100, 1, 60)]
    (row,) = pack((Encoded(text, ()) for text in texts), WIDTH)
    documents = torch.from_numpy(row.documents)[None]
    mask = dense_mask(documents) if attention == "sdpa" else block_mask(documents, compiled=False)
    packed, alone = (SHAPE.build(end=1, attention=name, seed=0).eval() for name in (attention, "sdpa"))
    with torch.no_grad():
        logits = packed(
            input_ids=torch.from_numpy(row.tokens)[None].long(),
            attention_mask=mask,
            position_ids=torch.from_numpy(row.positions)[None].long(),
            use_cache=False,
        ).logits[0]
        start = 0
        for text in texts:
            expected = alone(input_ids=torch.tensor([text])).logits[0]
            torch.testing.assert_close(logits[start : start + len(text)], expected, atol=1e-5, rtol=0)
            start += len(text)
