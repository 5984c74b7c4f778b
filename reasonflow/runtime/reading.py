"""From a completion's text to a record, and from a record to what later prompts see of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from reasonflow.backends.protocol import Completion, Prompt
from reasonflow.gates.scores import Unscored
from reasonflow.plan.nodes import Site
from reasonflow.prompts.answer_tokens import answer_tokens, text_tokens
from reasonflow.prompts.context import Context, ContextPrompt, continued
from reasonflow.prompts.parse import parse
from reasonflow.prompts.styles import answer_field
from reasonflow.prompts.thinking import opens_thought
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.values import Hole, Record


def opened(prompt: Prompt, runtime: Runtime) -> bool:
    """Whether what follows a prompt begins inside a thought."""
    tokenizer = runtime.backend.tokenizer
    return tokenizer is not None and prompt.tokens is not None and opens_thought(prompt.tokens, tokenizer)


def read(
    site: Site, completion: Completion, runtime: Runtime, prompt: Prompt, *, opened: bool
) -> tuple[Record | None, tuple[str, ...], AdapterParseError | None]:
    """The record in a completion's text, the repairs it took, and the adapter's error where there is no record."""
    if isinstance(prompt, ContextPrompt):
        context, exact = continued(replace(prompt.context, window=runtime.backend.window), completion)
        return (
            written(context, prompt.context, completion, site),
            () if exact else ("its text was encoded again",),
            None,
        )
    tokenizer = runtime.backend.tokenizer
    try:
        parsed = parse(
            site.signature,
            site.style,
            completion.text,
            completion.finish_reason,
            site.adapter,
            opened=opened,
            logprobs=completion.logprobs,
        )
    except AdapterParseError as error:
        return None, ("not parsed",), error
    solution = parsed.text
    if site.solution_tokens is not None and completion.output_tokens > site.solution_tokens and tokenizer is not None:
        solution = tokenizer.decode(tokenizer.encode(parsed.text)[-site.solution_tokens :])  # its end holds the answer
    tokens = answer_tokens(completion.logprobs, completion.text, opened=opened)
    record = Record(parsed.fields, parsed.text, parsed.thinking, solution, tokens, watched_score(site, completion))
    return record, parsed.repairs, None


def written(context: Context, before: Context, completion: Completion, site: Site) -> Record:
    """What a call gives that continues a context: see `rf.Continue`."""
    cut = completion.finish_reason == "length"
    fields = {"context": context, "stopped": completion.stopped, "cut": cut}
    tokens = text_tokens(completion.logprobs, completion.text)
    return Record(fields, context.since(before)[1], logprobs=tokens, watched_score=watched_score(site, completion))


def watched_score(site: Site, completion: Completion) -> float | None:
    """The score of a whole sample at a site that watches; None where there is none."""
    if site.watch is None:
        return None
    try:
        return site.watch.of(completion.logprobs)
    except Unscored:
        return None


def flowing(value: Any) -> Any:
    """A value as later prompts see it: records as their text, holes left out, thinking never."""
    if isinstance(value, str):
        return value
    if isinstance(value, Record):
        return value.flowing_text
    if isinstance(value, Hole):
        return None
    if isinstance(value, (list, tuple)):
        return [flowing(item) for item in value]
    return value


def missing_answer(site_signature: type[dspy.Signature], record: Record) -> AdapterParseError:
    """The error of a run whose result has no answer: DSPy's own, with the predictor's own signature."""
    name = answer_field(site_signature)
    return AdapterParseError(
        adapter_name="ReasonFlow",
        signature=site_signature,
        lm_response=record.full_text,
        # No parsed_result: DSPy's tracing divides by it where some fields were read, and GEPA would never see the text.
        message=f"The text holds no {name}: neither a box nor anything that reads like an answer.",
    )
