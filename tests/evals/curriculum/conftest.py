"""What tests of lessons share: a scripted engine that reads and writes the built-in model's tokens."""

from __future__ import annotations

from typing import Any

import pytest

from reasonflow.backends.scripted import ScriptedBackend


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """All prompts as tokens of the built-in model, which the scripted engine reads and writes here."""
    pytest.importorskip("tokenizers")
    from reasonflow.backends.hf_tokenizer import HfTokenizer
    from reasonflow.backends.model_files import ModelFiles
    from reasonflow.evals.curriculum.embedded import EMBEDDED

    tokenizer = HfTokenizer(ModelFiles("embedded"))
    tokens: list[tuple[int, ...]] = []
    generate = ScriptedBackend.generate

    async def noting(self: ScriptedBackend, request: Any, observe: Any = None) -> Any:
        tokens.append(tuple(request.prompt.tokens))
        return await generate(self, request, observe)

    monkeypatch.setattr(ScriptedBackend, "generate", noting)
    monkeypatch.setattr("reasonflow.backends.scripted.ChunkTokenizer", lambda: tokenizer)
    monkeypatch.setattr("reasonflow.backends.scripted_samples.END_ID", EMBEDDED.stop[0])
    return tokens
