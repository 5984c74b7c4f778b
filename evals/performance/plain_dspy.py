"""DSPy's own modules on our engine, configured as fairly as forced lengths allow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from reasonflow.backends.bridge import make_lm
from reasonflow.evals.performance.conditions import forced


def plain_lm(lm: dspy.LM, tokens: int) -> dspy.LM:
    """The engine of `lm`, one of ours, as DSPy's modules call it: every call writes so many tokens."""
    options = forced(tokens)
    cap = options.pop("max_tokens")  # the others DSPy refuses in a call
    return make_lm(lm.engine.spec, {**lm.engine.settings, **options}, max_tokens=cap)


@contextmanager
def plain_dspy(lm: dspy.LM, tokens: int) -> Iterator[None]:
    """Inside, plain DSPy modules call `plain_lm(lm, tokens)`, but for those that have another of their own."""
    logger = logging.getLogger("dspy.clients.lm")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of every text that ends at its cap, as all of them are meant to
    try:
        with dspy.context(lm=plain_lm(lm, tokens), adapter=WholeText()):
            yield
    finally:
        logger.setLevel(level)


class WholeText(dspy.ChatAdapter):
    """DSPy's own prompts; any text is an answer, so that forced lengths are not taken for failures and asked again."""

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        return dict.fromkeys(signature.output_fields, completion)

    def _call_postprocess(self, processed_signature: Any, original_signature: Any, outputs: Any, *rest: Any) -> Any:
        # A text of forced length may end in a closing tag of thoughts, and is all thought then, which DSPy refuses.
        whole = [
            {**each, "text": each["text"] or each.get("reasoning_content") or " "} for each in map(_as_dict, outputs)
        ]
        return super()._call_postprocess(processed_signature, original_signature, whole, *rest)


def _as_dict(output: Any) -> dict[str, Any]:
    return output if isinstance(output, dict) else {"text": output}
