"""PDR as plain DSPy writes it: predictors in a module's forward, called one after the other, in DSPy's own layout."""

from __future__ import annotations

from typing import Any

import dspy
from dspy.adapters.chat_adapter import ChatAdapter

import reasonflow as rf
from reasonflow.backends.handles import AsyncEngineHandle, EngineHandle


class PlainPDR(dspy.Module):
    """The rounds of an `rf.PDR` with the "summary" distiller, its signatures and widths."""

    def __init__(self, program: rf.PDR) -> None:
        super().__init__()
        self.draft = dspy.Predict(program.draft.signature)
        self.distill = dspy.Predict(program.distill.signature)
        self.refine = dspy.Predict(program.refine.signature)
        self.widths = (*program.widths, 1)
        self.drafts, self.workspace = program.drafts, program.workspace
        self.by, [self.notes] = program.by, list(program.distill.signature.output_fields)

    def forward(self, **inputs: Any) -> Any:
        drafts = self.draft(**inputs, config={"n": self.widths[0]})
        for width in self.widths[1:]:
            read = {self.drafts: list(drafts.completions[self.by])}
            notes = self.distill(**inputs, **read)[self.notes]
            drafts = self.refine(**inputs, **{self.workspace: notes}, config={"n": width})
        return drafts


class AnyText(ChatAdapter):
    """DSPy's chat layout; any text is the answer, since forced lengths cut DSPy's marks off."""

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        return dict.fromkeys(signature.output_fields, completion)


def writing_exactly(lm: dspy.LM, tokens: int) -> dspy.LM:
    """The same engine for plain DSPy calls that write exactly so many tokens, with DSPy's cache."""
    handle: EngineHandle = lm.engine
    forced = EngineHandle(handle.spec, {**handle.settings, "ignore_eos": True, "min_tokens": tokens})
    made: dspy.LM = lm.copy(engine=forced, async_engine=AsyncEngineHandle(forced), max_tokens=tokens, cache=True)
    return made
