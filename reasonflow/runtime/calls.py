"""One model call: from a site and real inputs to records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from reasonflow.backends.protocol import Completion, Prompt, Request
from reasonflow.errors import BackendError
from reasonflow.language.tracing import Binding
from reasonflow.plan.nodes import Generate, Node, Site
from reasonflow.prompts.parse import parse
from reasonflow.prompts.render import PromptTemplate
from reasonflow.prompts.styles import answer_field
from reasonflow.prompts.thinking import opens_thought
from reasonflow.runtime.fitting import render_to_fit
from reasonflow.runtime.record import Run, label
from reasonflow.runtime.runtime import Runtime
from reasonflow.runtime.scheduler import Ticket
from reasonflow.runtime.seeds import sample_seed
from reasonflow.runtime.values import Cost, Hole, Record, longest

_RETRY_STRIDE = 7919
"""Moves a retry's seed away from the siblings' seeds, which are consecutive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One call as DSPy is told of it after the run."""

    order: tuple[str, tuple[int, ...]]
    """Where it stands in the plan: site and branch."""
    binding: Binding
    site: Site
    inputs: Mapping[str, Any]
    prompt: Prompt
    completions: tuple[Completion, ...]
    records: tuple[Any, ...]


@dataclass(slots=True)
class CallMaker:
    """Makes the model calls of one run."""

    run: Run
    number: int
    """The run's place in the scheduler's order."""
    bindings: Mapping[str, Binding]
    runtimes: Mapping[str, Runtime]
    """The engine of each call site."""
    home: Runtime
    """The engine on whose loop the run lives."""
    made: list[Made]

    async def generate(
        self, node: Node, values: Sequence[Any], before: Cost, indices: tuple[int, ...]
    ) -> tuple[Any, Cost]:
        """Render, sample, parse. One record, or a list of them with holes where a text could not be read.

        Raises BackendError; AdapterParseError where a single sample cannot be read.
        """
        op = node.op
        assert isinstance(op, Generate)
        site, binding, runtime = op.site, self.bindings[op.site.name], self.runtimes[op.site.name]
        inputs = {name: flowing(value) for name, value in zip(op.fields, values, strict=True)}
        backend = runtime.backend
        prompt, cut = render_to_fit(template(site), inputs, backend.tokenizer, backend.window, site.sampling.max_tokens)
        if cut:
            self.run.repairs.append(f"{label(node.name, indices)}: {cut}")
        wanted = op.n or 1
        greedy = site.sampling.temperature == 0
        asked = 1 if greedy else wanted
        path = (*indices, 0) if op.n is not None else indices
        request = Request(
            prompt=prompt,
            sampling=replace(site.sampling, seed=sample_seed(binding.seed, node.name, path)),
            n=asked,
            priority=binding.priority,
            label=label(node.name, indices),
        )
        started = self.run.clock()
        completions = await self._send(runtime, request, node)
        records: list[Any] = []
        costs: list[Cost] = []
        for sample, completion in enumerate(completions):
            at = (*indices, sample) if op.n is not None else indices
            record, cost = await self._read(node, site, request, completion, runtime, at, started, before)
            records.append(record)
            costs.append(cost)
        self.made.append(
            Made(
                order=(node.name, indices),
                binding=binding,
                site=site,
                inputs=inputs,
                prompt=prompt,
                completions=completions,
                records=tuple(records),
            )
        )
        cost = longest(costs)
        if op.n is not None:
            return (records * wanted if greedy else records), cost
        if isinstance(records[0], Hole):
            raise records[0].error
        return records[0], cost

    async def _send(self, runtime: Runtime, request: Request, node: Node) -> tuple[Completion, ...]:
        ticket = Ticket(run=self.number, path=node.priority)
        self.run.requests += 1
        if runtime is self.home:
            return await runtime.generate(request, ticket=ticket)
        return await runtime.arun(lambda: runtime.generate(request, ticket=ticket))

    async def _read(
        self,
        node: Node,
        site: Site,
        request: Request,
        completion: Completion,
        runtime: Runtime,
        indices: tuple[int, ...],
        started: float,
        before: Cost,
    ) -> tuple[Any, Cost]:
        """The record in one completion, asking again where the site allows it."""
        cost = before
        attempt = 0
        while True:
            record, repairs, failure = read(site, request.prompt, completion, runtime)
            call = self.run.add(node.name, indices, started, completion, "failed" if failure else "done", repairs)
            cost = cost.after(call, completion.prompt_tokens, completion.output_tokens)
            if record is not None:
                return record, cost
            if attempt == site.retries:
                break
            attempt += 1
            seed = ((request.sampling.seed or 0) + _RETRY_STRIDE * attempt) % (1 << 31)
            started = self.run.clock()
            again = replace(request, n=1, sampling=replace(request.sampling, seed=seed))
            (completion,) = await self._send(runtime, again, node)
        assert failure is not None
        path = label(node.name, indices)
        self.run.failures.append(f"{path}: {type(failure).__name__}: the completion could not be parsed")
        return Hole(path, failure), cost


def read(
    site: Site, prompt: Prompt, completion: Completion, runtime: Runtime
) -> tuple[Record | None, tuple[str, ...], AdapterParseError | None]:
    """The record in a completion's text, the repairs it took, and the adapter's error where there is no record."""
    tokenizer = runtime.backend.tokenizer
    opened = tokenizer is not None and prompt.tokens is not None and opens_thought(prompt.tokens, tokenizer)
    try:
        parsed = parse(
            site.signature, site.style, completion.text, completion.finish_reason, site.adapter, opened=opened
        )
    except AdapterParseError as error:
        return None, ("not parsed",), error
    solution = parsed.text
    if site.solution_tokens is not None and completion.output_tokens > site.solution_tokens and tokenizer is not None:
        solution = tokenizer.decode(tokenizer.encode(parsed.text)[-site.solution_tokens :])  # its end holds the answer
    return Record(parsed.fields, parsed.text, parsed.thinking, solution), parsed.repairs, None


def flowing(value: Any) -> Any:
    """A value as later prompts see it: records as their text, holes left out, thinking never."""
    if isinstance(value, Record):
        return value.flowing_text
    if isinstance(value, Hole):
        return None
    if isinstance(value, (list, tuple)):
        return [flowing(item) for item in value]
    return value


@lru_cache(maxsize=512)
def template(site: Site) -> PromptTemplate:
    """The compiled prompt of a site: sites compare by content."""
    return PromptTemplate(site.signature, site.style, site.demos, site.adapter)


def missing_answer(site_signature: type[dspy.Signature], record: Record) -> AdapterParseError:
    """The error of a run whose result has no answer: DSPy's own, with the predictor's own signature."""
    name = answer_field(site_signature)
    return AdapterParseError(
        adapter_name="ReasonFlow",
        signature=site_signature,
        lm_response=record.full_text,
        parsed_result={name: value for name, value in record.fields.items() if value is not None},
        message=f"The text holds no {name}: neither a box nor anything that reads like an answer.",
    )


def runtime_of(lm: dspy.BaseLM | None, site: str) -> Runtime:
    """The runtime behind a language model. Raises BackendError where there is none."""
    if lm is None:
        raise BackendError(
            "no language model is loaded",
            why=f"call site {site!r} has none of its own and none is configured",
            fix='dspy.configure(lm=rf.vllm("embedded"))',
        )
    runtime = getattr(getattr(lm, "engine", None), "runtime", None)
    if not isinstance(runtime, Runtime):
        raise BackendError(
            f"programs do not run on {getattr(lm, 'model', lm)!r} yet",
            why="it is no ReasonFlow engine, so there is nothing to schedule its branches on",
            fix="use rf.vllm(...) for a local model, or rf.scripted(...) in tests",
        )
    return runtime
