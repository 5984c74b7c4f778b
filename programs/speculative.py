"""Speculative planning (SpecEyes, arXiv 2603.23483): what a small model is sure of needs no agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dspy

import reasonflow as rf
from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.errors import InputError
from reasonflow.gates.scores import Score, VoteShare
from reasonflow.language.signatures import read_signature
from reasonflow.language.site_defaults import options_of
from reasonflow.programs.bounded_tools import DEADLINE_S, bounded
from reasonflow.programs.final_tokens import final_tokens
from reasonflow.programs.guessed_actions import Guesses
from reasonflow.programs.knobs import Layout
from reasonflow.programs.quick import nothing, quick
from reasonflow.programs.refinement import about, extended, unused
from reasonflow.programs.speculative_actions import Action, ActionsAhead
from reasonflow.programs.voted_answers import ANSWERS
from reasonflow.prompts.answers import extract_answer
from reasonflow.prompts.styles import choose_style
from reasonflow.runtime.engines import backend_behind, model_behind
from reasonflow.runtime.values import Record

SMALL, AGENT = "small", "agent"
"""Who answered."""
SOURCE, GUESSES = "source", "guesses"
"""Fields of the output beside those of the signature."""
TOKENS = 20
"""Of the small model's answer, as released."""
STEPS = 5
"""Of the default agent, as published."""
_FREE = 0.5
"""Probability of Yes from which on the judge is believed."""
_JUDGE = """Decide whether this can be answered reliably without any tool. Say Yes where tools would add little, No
where they would clearly make the answer more often right."""
_AT_ONCE = "Write just the final answer, without an explanation."


class SpeculativePlanner(rf.Program):
    """A large model judges whether a task needs tools; if not, a small one answers; a gate keeps that or asks an agent.

    The judge, the small model and the agent of one task never wait for other tasks. What the judge or the small model
    fails at, and what the gate cannot score, goes to the agent: nothing is accepted by mistake. The output has
    `source`, "small" or "agent", beside the signature's fields, and the run's notes have what the gate said. With
    `actions` it has `guesses`, too, a `Guesses`: what came of those of the agent that has answered.

    gate: see docs/gates.md. Its score is computed of the answer's tokens where it takes log-probabilities, else of the
        whole record. It must be calibrated, or have a threshold.
    tools: functions or `dspy.Tool`s of the default agent, a `dspy.ReAct` of `STEPS` steps. What they raise is an
        observation; each call has `deadline_s` seconds, and of megabytes the agent reads the two ends.
    agent: any program or `dspy.Module` in its place.
    calls: model calls that an agent which is no program of ours makes at most, without its guesses; None: what
        `dspy.ReAct` makes.
    small, large: their language models; None: the one in use. The agent runs on `large`, too. They may be the same:
        the small answer is still a few tokens in place of an agent. The run's notes say so.
    judge: False asks the small model every time.
    hedge: the agent starts at once, and leaves the engine where the small model's answer is accepted. What its tools
        have done by then is done.
    config: sampling settings of the small model's answers.
    small_program: what the small model does in place of answering at once, a program of the same signature, such as
        `rf.ChainOfThought(config={"logprobs": 1})`. It asks for the log-probabilities that the gate's score takes, and
        that is computed of the tokens of its boxed answer alone. `VoteShare()` is computed of the `answers` that it
        gives, as `VotedAnswers` of `reasonflow.programs.voted_answers` does.
    actions: tools of the agent, a `dspy.ReAct`, that are free of effects, by their names or as they were given: the
        small model guesses the agent's next call, and a guessed call of one of these starts ahead of time.
        See `ActionsAhead`.
    guesses: of each step of the agent.
    layout: of all prompts. It and hedge may be an `rf.Choice`, for `rf.compile`.
    Raises InputError for neither tools nor an agent, for both, for an output field of one of its own names, for actions
    that are no tools of the agent, for a small program that asks no model or stands beside a config of the short
    answer, for a hedged agent of whose tools only some are declared free of effects, and, when it runs, for a gate that
    cannot be used.
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature] = "problem -> answer",
        gate: rf.Gate | None = None,
        *,
        tools: Iterable[Callable[..., Any]] = (),
        agent: dspy.Module | None = None,
        calls: int | None = None,
        deadline_s: float = DEADLINE_S,
        small: dspy.LM | None = None,
        large: dspy.LM | None = None,
        judge: bool = True,
        hedge: bool | rf.Choice = False,
        config: dict[str, Any] | None = None,
        small_program: rf.Program | None = None,
        actions: Iterable[Action] = (),
        guesses: int = 1,
        layout: Layout = "auto",
    ) -> None:
        task, tools = read_signature(signature), list(tools)
        actions = actions if isinstance(actions, str) else list(actions)
        if gate is None:
            raise InputError("a planner without a gate", fix="gate=rf.Gate(TokenProbability()), then calibrate it")
        if bool(tools) == (agent is not None):
            raise InputError(
                "the planner needs tools, or an agent that has its own" if agent is None else "both tools and an agent",
                fix="tools=[search, calculator] or agent=dspy.ReAct(...)",
            )
        if calls is None and agent is not None and not isinstance(agent, rf.Program) and agent.predictors():
            raise InputError(
                f"nobody knows how many model calls {type(agent).__name__} makes",
                why="bounds and budgets are taken over the whole plan before it starts",
                fix="say how many it makes at most: calls=10",
            )
        for name in (SOURCE, *([GUESSES] if actions or isinstance(agent, ActionsAhead) else [])):
            if name in task.output_fields:
                raise InputError(f"an output field is called {name!r}", why="the planner says that", fix="rename it")
        self.signature = task
        self.inputs, self.outputs = tuple(task.input_fields), tuple(task.output_fields)
        self.gate = gate
        self.hedge, self.layout = hedge, layout
        self.free = unused("without_tools", task)
        if judge:
            self.judge = rf.Generate(about(task, _JUDGE, {}, (self.free, ""), gives=float), style="verdict")
        if small_program is None:
            self.small: Any = self._at_once(task, config)
        elif config is not None:
            raise InputError("both a small program and a config", fix="give the program its own config")
        else:
            self.small = small_program
        held = [bounded(tool, deadline_s=deadline_s) for tool in tools]
        self.agent = dspy.ReAct(task, held, max_iters=STEPS) if agent is None else agent
        self.calls = STEPS + 1 if calls is None and agent is None else calls
        if actions:
            self.agent = ActionsAhead(self.agent, actions, small=small, guesses=guesses)
        if isinstance(self.agent, ActionsAhead):
            self.calls = (self.calls or 0) + self.agent.most_guesses
            if any(options_of(hedge)) and self.agent.with_effects:
                raise InputError(
                    f"a hedged agent may call {', '.join(self.agent.with_effects)} before it is known to be needed",
                    why="a hedged agent is a guess itself, and they are not among the actions free of effects",
                    fix="hedge=False, or declare every tool that has no effects",
                )
        for predictor in self._answering():
            if small is not None:
                predictor.lm = small
        if large is not None:
            for predictor in (*([self.judge] if judge else []), *(each for _, each in self.agent.named_predictors())):
                predictor.lm = large

    def plan(self, **inputs: Any) -> Any:
        def told() -> Any:
            return rf.call(
                quick(only), rf.fork(1, lambda: rf.call(quick(self.gated), self.answered_by_small(**inputs)))
            )

        def spoken() -> Any:
            if not hasattr(self, "judge"):
                return told()
            judged = rf.fork(1, lambda: rf.call(quick(self.is_free), self.judge(**inputs)))
            return rf.when(rf.call(quick(only), judged), told, lambda: rf.call(quick(nothing)))

        def planned() -> Any:
            agent = self.agent
            found = agent(**inputs) if isinstance(agent, rf.Program) else rf.call(agent, **inputs, cap=self.calls)
            return rf.call(quick(self.of_agent), found)

        def answered() -> Any:
            if self.hedge:
                return rf.race(spoken, planned, accept=accepted)
            small = spoken()
            return rf.when(rf.call(quick(accepted), small), lambda: small, planned)

        return rf.answer(rf.when(rf.call(quick(self.usable)), answered, lambda: rf.call(quick(nothing))))

    def answered_by_small(self, **inputs: Any) -> Any:
        """What the small model gives, for its gate to see first: a run that is cut short must not return it."""
        if isinstance(self.small, rf.Generate):
            return self.small(**inputs)
        return rf.within(rf.Budget(), lambda: self.small(**inputs))  # what its program marks as an answer stays inside

    def _at_once(self, task: type[dspy.Signature], config: dict[str, Any] | None) -> rf.Generate:
        """The short answer."""
        settings = {"temperature": 0.0, "max_tokens": TOKENS, **(config or {})}
        if self.gate.score.logprobs:
            settings["logprobs"] = self.gate.score.logprobs
        boxed = choose_style(task) == "boxed"
        return rf.Generate(extended(task, _AT_ONCE, {}), style="text" if boxed else None, config=settings)

    def _answering(self) -> list[dspy.Predict]:
        """The call sites of the small model. Raises InputError for a program without any."""
        found = [self.small] if isinstance(self.small, rf.Generate) else self.small.predictors()
        if not found:
            raise InputError(f"{type(self.small).__name__} asks no model", fix="give a small program that does")
        return found

    @property
    def _small_lm(self) -> Any:
        return self.model_of(self._answering()[0])

    @property
    def model(self) -> str:
        """Fingerprint of the small model, as calibrations keep it; empty where there is no engine."""
        return model_behind(self._small_lm)

    @property
    def is_one_model(self) -> bool:
        """Whether the judge and the agent run on the very engine of the small model."""
        others = [*([self.judge] if hasattr(self, "judge") else []), *self.agent.predictors()]
        engines = {runtime_behind(self.model_of(each)) for each in others}
        return engines == {runtime_behind(self._small_lm)}

    def usable(self) -> bool:
        """True. Raises InputError where the gate cannot be used on the small model's engine."""
        self.gate.check(model=self.model)
        if self.is_one_model:
            rf.note("the small model is the large one: what it saves is the agent's steps", repair=False)
        backend = backend_behind(self._small_lm)
        most = None if backend is None else backend.capabilities.top_logprobs
        if most is not None and self.gate.score.logprobs > most:
            raise InputError(
                f"the gate's score takes {self.gate.score.logprobs} log-probabilities a token",
                why=f"the small model's engine gives {most}",
                fix="a score of fewer: Separability(k=20), TokenProbability(), or another engine",
            )
        return True

    def is_free(self, verdict: Any) -> bool:
        """Whether the judge says that no tool is needed. One that says something else does not."""
        return bool(verdict[self.free] >= _FREE)

    def read(self, record: Any) -> Record | None:
        """The small model's answer; None where there is none."""
        logprobs = record.logprobs
        if not isinstance(self.small, rf.Generate):
            logprobs = final_tokens(logprobs)
        elif self.small.style == "text" and (boxed := extract_answer(record.full_text)).repair is None:
            # It put its answer in a box all the same.
            record = Record({self.outputs[0]: boxed.answer}, record.full_text)
        if any(record[name] is None or record[name] == "" for name in self.outputs):
            return None
        kept = (*self.outputs, *([ANSWERS] if ANSWERS in record and ANSWERS not in self.outputs else []))
        return Record({name: record[name] for name in kept}, record.full_text, logprobs=logprobs)

    def value(self, answer: Record, score: Score | None = None) -> Any:
        """What a score is computed of. score: None is the gate's."""
        score = score or self.gate.score
        if isinstance(score, VoteShare) and ANSWERS in answer:
            return answer[ANSWERS]
        return answer.logprobs if score.logprobs else answer

    def gated(self, record: Any) -> Record | None:
        """The small model's answer where the gate accepts it."""
        answer = self.read(record)
        if answer is None:
            rf.note("the small model gave no answer", repair=False)
            return None
        decision = self.gate.decide(self.value(answer), model=self.model)
        rf.note(f"gate: {'accepted' if decision.accepted else 'not accepted'}, {decision.why}", repair=False)
        return self._spoken(answer, SMALL) if decision.accepted else None

    def of_agent(self, found: Any) -> Record:
        """The agent's answer."""
        return self._spoken(found, AGENT)

    def _spoken(self, found: Any, source: str) -> Record:
        text = found.full_text if isinstance(found, Record) else ""
        fields = {**{name: found[name] for name in self.outputs}, SOURCE: source}
        if isinstance(self.agent, ActionsAhead):
            fields[GUESSES] = found[GUESSES] if source == AGENT else Guesses()
        return Record(fields, text)


def accepted(found: Any) -> bool:
    """Whether there is an answer."""
    return found is not None


def only(found: list[Any]) -> Any:
    """What is in it; None where that failed, as the run record says."""
    return found[0] or None
