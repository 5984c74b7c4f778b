"""Asynchronous test-time scaling (ATTS, arXiv 2509.15148): a draft model writes, a target takes over what it doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import dspy

import reasonflow as rf
from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import InputError
from reasonflow.language.choices import as_choice
from reasonflow.language.signatures import read_signature
from reasonflow.language.site_defaults import options_of
from reasonflow.programs.final_fields import final_fields
from reasonflow.programs.knobs import Layout, Temperature, check_known, check_whole
from reasonflow.programs.quick import nothing, quick
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.context import Context
from reasonflow.prompts.styles import answer_field
from reasonflow.runtime.calls import runtime_of
from reasonflow.runtime.engines import model_behind
from reasonflow.runtime.scoring import score
from reasonflow.runtime.values import Record

Scoring: TypeAlias = Literal["target", "draft"]

TEMPERATURE = 0.8
"""Of both models, as released."""
_PROBE = "Let $x_1 = 3.14$; so f(x) = \\boxed{42}.\n\n  Therefore: naïve café, 12,345 + 0.5 %"
"""Models whose tokenizers cut this alike are taken to have the same one."""


class History(NamedTuple):
    """A sample so far."""

    context: Context
    over: bool
    """There is an answer, or the model that wrote last had nothing more to say."""
    turns: int
    """Chunks of the draft model so far, those among them that the target wrote anew or went on behind."""


class Seen(NamedTuple):
    """A chunk of the draft model's, scored."""

    accepted: bool
    history: History
    """With the chunk."""
    after: Context
    """What the target goes on from where it is not accepted."""


class AsyncScaling(rf.Program):
    """Samples in chunks by a draft model; the target scores each chunk, and goes on where the gate does not accept it.

    No sample waits for another, in no stage: a chunk is held against a calibration instead of against its siblings. The
    answer is the one that most samples give; `answers` has all of them, so that majority and coverage (whether any is
    right, the published figure) can be told apart.

    A rejected chunk that ends its solution is written anew by the target, since nothing can go on behind an end; as
    released (`rewrite=False`), the target goes on behind it all the same.

    gate: of the chunk's tokens: `Perplexity()` as published, `TokenProbability()`. Calibrate it on chunks of that kind:
        `reasonflow.optimizers.scaling_samples`. A scoring call that fails accepts nothing. Several: one a turn, since
        later chunks follow more text and score otherwise; the last one is for all later turns, too.
    n, turns, chunk: samples, chunks of each at most, tokens of a chunk of either model (published: 16, 15, 500).
    scoring: "target": log-probabilities of the chunk under the target, one call a chunk over the whole prompt, which
        bypasses vLLM's prefix cache: the run's record has it as a call that reads all and writes nothing. "draft": the
        draft model's own, for nothing, and not the published score: it knows nothing of the target.
    draft, target: language models with one tokenizer; None: the one in use.
    temperature: of both models; None: as released. layout: of all prompts. They, n and turns may be an `rf.Choice` or
        `rf.Range`, for `rf.compile`; several gates need at least as many turns in each.
    Raises InputError for a gate that cannot be used here, and for models with different tokenizers, when it runs.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        gate: rf.Gate | Sequence[rf.Gate] | None = None,
        n: int | rf.Choice = 16,
        turns: int | rf.Choice = 15,
        *,
        chunk: int = 500,
        draft: dspy.LM | None = None,
        target: dspy.LM | None = None,
        scoring: Scoring = "target",
        rewrite: bool = True,
        temperature: Temperature = None,
        layout: Layout = "auto",
        config: dict[str, Any] | None = None,
    ) -> None:
        if gate is None:
            raise InputError("scaling without a gate", fix="gate=rf.Gate(Perplexity()), then calibrate it")
        for name, number in (("turns", turns), ("chunk", chunk)):
            check_whole(name, number, "leaves nothing to write")
        check_known("scoring", scoring, get_args(Scoring))
        gates = (gate,) if isinstance(gate, rf.Gate) else tuple(gate)
        _check_gates(gates, min(options_of(turns)), scoring)
        wanted = max(each.score.logprobs for each in gates)
        task = read_signature(signature)
        own = {"temperature": TEMPERATURE} if temperature is None else {}
        settings = {**own, "max_tokens": chunk, **(config or {})}
        self.signature = task
        self.answer = answer_field(task)
        self.gate = gate if isinstance(gate, rf.Gate) else gates
        self.n, self.turns = as_choice(n), as_choice(turns)
        self.temperature, self.layout = temperature, layout
        self.scoring, self.rewrite = scoring, rewrite
        self.draft = rf.Continue(task, config={**settings, **({"logprobs": wanted} if scoring == "draft" else {})})
        self.target = rf.Continue(config=settings)
        self.draft.lm, self.target.lm = draft, target

    def plan(self, **inputs: Any) -> Any:
        turns = int(self.turns)

        def gone_on(chunk: Any, before: Any) -> Any:
            seen = rf.call(self.seen, chunk, before, cap=self.scores)
            return rf.when(
                rf.call(quick(accepted), seen),
                lambda: rf.call(quick(kept), seen),
                lambda: rf.call(quick(taken_over), self.target(after=seen.after), seen),
            )

        def turn(history: Any) -> Any:
            return gone_on(self.draft(after=history.context), history)

        def sampled() -> Any:
            history = gone_on(self.draft(**inputs), None)
            if turns > 1:
                going = rf.call(quick(goes_on), history)
                history = rf.when(
                    going, lambda: rf.loop(turn, history, until=over, max_rounds=turns - 1), lambda: history
                )
            return rf.call(quick(self.read), history)

        def answered() -> Any:
            samples = rf.fork(self.n, sampled)
            return rf.call(quick(self.joined), rf.vote(samples, by=self.answer), samples)

        return rf.answer(rf.when(rf.call(quick(self.usable)), answered, lambda: rf.call(quick(nothing))))

    @property
    def gates(self) -> tuple[rf.Gate, ...]:
        """One for each of the first turns, the last of them for all later ones."""
        return (self.gate,) if isinstance(self.gate, rf.Gate) else self.gate

    def gate_of(self, turn: int) -> rf.Gate:
        """turn: from 0."""
        gates = self.gates
        return gates[min(turn, len(gates) - 1)]

    @property
    def scores(self) -> int:
        """Calls of the target that score a chunk."""
        return 1 if self.scoring == "target" else 0

    @property
    def model(self) -> str:
        """Fingerprint of the model whose log-probabilities the gates see, as calibrations keep it."""
        return model_behind(self._lm(self.target if self.scoring == "target" else self.draft))

    def usable(self) -> bool:
        """True. Raises InputError where a gate is not for these models, or these do not fit each other."""
        for gate in self.gates[: int(self.turns)]:
            gate.check(model=self.model)
        return self.fitting()

    def fitting(self) -> bool:
        """True. Raises InputError for models that do not fit each other or the scoring."""
        draft, target = (runtime_of(self._lm(site), name).backend for site, name in self._sites())
        if self.scoring == "target" and not target.capabilities.prompt_logprobs:
            raise InputError(
                f"the engine of {target.model!r} does not score given text", fix='scoring="draft", or another engine'
            )
        cut = [backend.tokenizer and backend.tokenizer.encode(_PROBE) for backend in (draft, target)]
        if cut[0] != cut[1]:
            raise InputError(
                f"{draft.model!r} and {target.model!r} have different tokenizers",
                why="one goes on from the other's tokens",
                fix="use two models of one family",
            )
        return True

    async def seen(self, chunk: Any, before: History | None) -> Seen:
        """What the gate says of a chunk. before: what it goes on from; None: the prompt."""
        history, after = self.with_chunk(chunk, before)
        turn = history.turns - 1
        decision = self.gate_of(turn).decide(await self.value(chunk, after), model=self.model)
        told = f"{'accepted' if decision.accepted else 'not accepted'}, {decision.why}, turn {turn + 1}"
        rf.note(f"gate: {told}", repair=False)
        return Seen(decision.accepted, history, after if history.over and self.rewrite else history.context)

    @staticmethod
    def with_chunk(chunk: Any, before: History | None) -> tuple[History, Context]:
        """What is written with a chunk of the draft's, and what it goes on from."""
        context: Context = chunk.context
        over = not chunk.cut or answered_in(context)
        if before is None:
            return History(context, over, 1), context.alone()
        return History(context, over, before.turns + 1), before.context

    async def value(self, chunk: Any, after: Context) -> tuple[TokenLogprobs, ...]:
        """What a gate's score is computed of; nothing where it cannot be had, with a note."""
        try:
            return chunk.logprobs if self.scoring == "draft" else await self.scored(chunk.context, after)
        except Exception as error:  # whatever goes wrong with a score: the target goes on
            rf.note(f"not scored: {error or type(error).__name__}")
            return ()

    async def scored(self, context: Context, before: Context) -> tuple[TokenLogprobs, ...]:
        """Log-probabilities under the target of what came behind an earlier context."""
        numbers = await score(self._lm(self.target), "target", before.tokens, context.tokens[len(before) :])
        return tuple(TokenLogprobs("", number) for number in numbers)

    def read(self, history: History) -> Record:
        """The answer of a sample, None where there is none."""
        text = history.context.text
        return Record(final_fields(self.draft.signature, self.draft.style, text, cut=not history.over), text)

    def joined(self, winner: Record, samples: list[Any]) -> Record:
        """The answer of the majority, beside those of all samples."""
        answers = [sample[self.answer] if sample else None for sample in samples]
        return Record({**winner.fields, "answers": answers}, winner.full_text)

    def _sites(self) -> tuple[tuple[rf.Continue, str], tuple[rf.Continue, str]]:
        return (self.draft, "draft"), (self.target, "target")

    def _lm(self, site: rf.Continue) -> dspy.LM | None:
        return self.model_of(site)


def _check_gates(gates: Sequence[rf.Gate], turns: int, scoring: Scoring) -> None:
    """Raises InputError for more gates than turns or none, one that stands twice, and one of another score."""
    if not 1 <= len(gates) <= turns:
        raise InputError(
            f"{len(gates)} gates for {turns} turns",
            why="each is for one turn, the last one for all later ones, too",
            fix=f"give 1 to {turns} gates",
        )
    if len({id(gate) for gate in gates}) < len(gates):
        raise InputError(
            "one gate stands for two turns", why="it would be calibrated twice", fix="make a gate for each turn"
        )
    for gate in gates:
        wanted = gate.score.logprobs
        if not wanted or (scoring == "target" and wanted > 1):
            raise InputError(
                f"{gate.score!r} cannot score chunks",
                why="it is no score of tokens" if not wanted else "a target tells of given tokens, not of others",
                fix="Perplexity() or TokenProbability()",
            )


def answered_in(context: Context) -> bool:
    """Whether what is written has a whole box."""
    return extract_answer(context.text).repair is None


def taken_over(record: Any, seen: Seen) -> History:
    """What is written once the target has gone on."""
    return History(record.context, not record.cut or answered_in(record.context), seen.history.turns)


def accepted(seen: Seen) -> bool:
    """Whether a chunk is kept as it is."""
    return seen.accepted


def kept(seen: Seen) -> History:
    """What is written, with the chunk."""
    return seen.history


def over(history: History) -> bool:
    """Whether nothing more is to be written."""
    return history.over


def goes_on(history: History) -> bool:
    """Whether something more is."""
    return not history.over
