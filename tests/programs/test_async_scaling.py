"""AsyncScaling: who writes what, and that no sample waits for another."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.scripted import ScriptedBackend
from reasonflow.errors import AnswerError, BackendError, InputError, UnknownName
from reasonflow.gates.gate import Calibration
from reasonflow.gates.scores import Perplexity, Separability, TokenProbability, VoteShare
from reasonflow.programs.async_scaling import AsyncScaling

SURE, UNSURE = {"yes": 0.99, "no": 0.01}, {"yes": 0.4, "no": 0.3}


class Writer:
    """Writes what it is told, call by call of a sample: the text so far decides which."""

    def __init__(self, *says: Any) -> None:
        self.says = says
        self.prompts: list[str] = []

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.prompts.append(prompt)
        behind = prompt.rpartition("How many?")[2]
        return self.says[min(behind.count("|"), len(self.says) - 1)]


def scale(draft: Writer, target: Writer, gate: rf.Gate | None = None, *, top: int = 20, **more: Any) -> Any:
    options = {"n": 3, "turns": 4, "scoring": "draft", **more}
    lms = {"draft": rf.scripted(draft, model="small", top_logprobs=top), "target": rf.scripted(target, model="large")}
    program = AsyncScaling("problem -> answer", gate or rf.Gate(TokenProbability(), 0.8), **lms, **options)
    with dspy.context(lm=rf.scripted("nobody")):
        return program(problem="How many?")


def test_what_the_gate_accepts_takes_no_target() -> None:
    draft, target = Writer(("so ", SURE, r" \boxed{4}")), Writer(r"\boxed{5}")
    out = scale(draft, target)
    assert (out.answer, out.answers) == ("4", ["4"] * 3)
    assert (len(draft.prompts), len(target.prompts)) == (3, 0)


def test_a_rejected_solution_is_written_anew_or_gone_on_with_as_released() -> None:
    for rewrite in (True, False):
        draft, target = Writer((UNSURE, UNSURE, r" \boxed{4}")), Writer(r" rather \boxed{5}")
        out = scale(draft, target, rewrite=rewrite)
        assert (out.answer, out.answers) == ("5", ["5"] * 3)
        assert [("boxed{4}" in prompt.rpartition("How many?")[2]) for prompt in target.prompts] == [not rewrite] * 3


def test_a_rejected_chunk_is_gone_on_with_and_the_draft_goes_on_behind_that() -> None:
    draft = Writer((UNSURE, " |", UNSURE, " more more more more"), (SURE, r" \boxed{6}"))
    target = Writer("", " checked | and and and and and and")
    out = scale(draft, target, chunk=3, n=1)
    assert out.answers == ["6"]
    assert len(target.prompts) == 1
    assert "yes |yes" in target.prompts[0]
    assert "checked" in draft.prompts[-1]


def test_turns_bound_a_sample_that_finds_no_answer() -> None:
    draft = Writer(("a b c d e f g h",))
    with pytest.raises(AnswerError, match="a vote over 2 branches has no ballot"):
        scale(draft, Writer("x"), chunk=2, n=2, turns=3)
    assert len(draft.prompts) == 6


def test_majority_and_all_answers_are_told_apart() -> None:
    class Sampler(Writer):
        def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
            self.prompts.append(prompt)
            return (SURE, rf" \boxed{{{[7, 8, 8, 9][len(self.prompts) % 4]}}}")

    out = scale(Sampler(), Writer("x"), n=4)
    assert out.answer == "8"
    assert sorted(out.answers) == ["7", "8", "8", "9"]


def test_each_turn_has_its_gate_and_later_ones_the_last() -> None:
    """The same chunk three times: the second gate alone refuses it, and the target goes on there."""
    say = (SURE, " | and so on and on and on")
    for bars, asked in (((0.5, 0.5), 0), ((0.5, 1.0), 3), ((1.0, 0.5), 1), ((0.5, 1.0, 0.5), 1)):
        draft = Writer(say, say, say, (SURE, r" \boxed{6}"))
        target = Writer(" well well well well well well well well")
        gates = [rf.Gate(TokenProbability(), bar) for bar in bars]
        out = scale(draft, target, gates, chunk=5, n=1, rewrite=False)
        told = [note for note in out.run.notes if "gate: " in note]
        refused = [turn for turn, bar in enumerate((*bars, *[bars[-1]] * 4)[:4]) if bar == 1.0]
        assert len(told) == 4
        assert [("not accepted" in note) for note in told] == [turn in refused for turn in range(4)]
        assert (out.answer, len(target.prompts)) == ("6", asked)


@pytest.mark.parametrize(
    ("gates", "what"),
    [
        ([], "0 gates for 2 turns"),
        ([rf.Gate(Perplexity(), 1.0) for _ in range(3)], "3 gates for 2 turns"),
        ([rf.Gate(Perplexity(), 1.0)] * 2, "one gate stands for two turns"),
        ([rf.Gate(Perplexity(), 1.0), rf.Gate(VoteShare(), 0.5)], "cannot score chunks"),
    ],
)
def test_gates_are_one_a_turn_at_most(gates: list[rf.Gate], what: str) -> None:
    with pytest.raises(InputError, match=what):
        AsyncScaling(gate=gates, turns=2)


def test_gates_of_turns_that_are_not_run_need_no_calibration() -> None:
    program = AsyncScaling(gate=[rf.Gate(Perplexity(), 9.0), rf.Gate(Perplexity())], n=2, turns=2)
    with dspy.context(lm=rf.scripted(r"\boxed{4}")):
        with pytest.raises(InputError, match="the gate has no threshold"):
            program(problem="How many?")
        program.turns.value = 1
        assert program(problem="How many?").answer == "4"


def test_no_sample_waits_for_another() -> None:
    draft = Writer((SURE, " | and so on and on"), (SURE, r" \boxed{6}"))
    waits: list[float] = []

    def slow_first(request: Any, index: int) -> float:
        waits.append(0.6 if not waits else 0.02)
        return waits[-1]

    lms = {
        "draft": rf.scripted(draft, top_logprobs=20, latency=slow_first),
        "target": rf.scripted("x"),
    }
    program = AsyncScaling("problem -> answer", rf.Gate(TokenProbability(), 0.5), n=4, chunk=4, scoring="draft", **lms)
    with dspy.context(lm=rf.scripted("nobody")):
        out = program(problem="How many?")
    ends = {span: span.started_s + span.total_s for span in out.run.spans}
    slow = max(ends, key=lambda span: span.total_s)
    assert len(ends) == 8
    assert sum(end < ends[slow] for end in ends.values()) == 6  # both chunks of the others, while it still writes


def test_a_failed_scoring_call_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: Any, prompt: Any, continuation: Any) -> Any:
        raise BackendError("out of memory")

    monkeypatch.setattr(ScriptedBackend, "score", fails)
    target = Writer(r"\boxed{5}")
    out = scale(Writer(r"\boxed{4}"), target, rf.Gate(Perplexity(), 1e9), scoring="target")
    assert (out.answer, len(target.prompts)) == ("5", 3)
    assert sum("not scored: out of memory" in note for note in out.run.repairs) == 3


def test_what_the_target_scores_is_the_runs_and_nothing_of_it_cached() -> None:
    out = scale(Writer(r"\boxed{4}"), Writer("x"), rf.Gate(Perplexity(), 1e9), scoring="target", n=2)
    assert out.answers == ["4", "4"]
    drafts = [span for span in out.run.spans if not span.inner]
    scored = [span for span in out.run.spans if span.inner == "score"]
    assert (len(drafts), len(scored), out.run.usage.calls) == (2, 2, 4)
    for draft, span in zip(drafts, scored, strict=True):
        assert (span.output_tokens, span.cached_tokens) == (0, 0)
        assert span.input_tokens == draft.input_tokens + draft.output_tokens - 1  # without the end of the turn
    assert {span.inner for span in out.run.critical_path} == {"", "score"}
    assert out.run.usage.total_tokens == sum(span.input_tokens + span.output_tokens for span in out.run.spans)


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"gate": rf.Gate(VoteShare(), 0.5)}, InputError, "cannot score chunks"),
        ({"gate": rf.Gate(Separability(k=20), 0.5), "scoring": "target"}, InputError, "a target tells of given tokens"),
        ({"scoring": "both"}, UnknownName, "scoring"),
        ({"chunk": 0}, InputError, "chunk=0 leaves nothing"),
        ({"gate": rf.Gate(Perplexity())}, InputError, "the gate has no threshold"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    options: dict[str, Any], error: type[Exception], what: str
) -> None:
    draft = Writer(r"\boxed{4}")
    with pytest.raises(error, match=what):
        scale(draft, Writer("x"), **options)
    assert not draft.prompts
    with pytest.raises(InputError, match="without a gate"):
        AsyncScaling()


def test_a_gate_belongs_to_the_model_that_scores() -> None:
    for scoring, model in (("draft", "small"), ("target", "large")):
        for calibrated in ("small", "large"):
            gate = rf.Gate(TokenProbability())
            settings = gate.score.settings
            gate.set(0.0, Calibration(method="by hand", digest="", samples=0, model=calibrated, settings=settings))
            if calibrated == model:
                assert scale(Writer(r"\boxed{4}"), Writer("x"), gate, scoring=scoring).answer == "4"
            else:
                with pytest.raises(InputError, match="calibrated on another model"):
                    scale(Writer(r"\boxed{4}"), Writer("x"), gate, scoring=scoring)


# The engine -----------------------------------------------------------------------------------------------------------

PROBLEM = "There are 4 red cups. There are 3 more blue cups than red cups. How many blue cups are there?"


@pytest.mark.engine
def test_of_one_model_both_scorings_give_one_number(embedded_lm: dspy.LM) -> None:
    said: dict[str, list[float]] = {}
    for scoring in ("draft", "target"):
        program = AsyncScaling(gate=rf.Gate(Perplexity(), 1e9), n=4, chunk=24, scoring=scoring, config={"seed": 7})
        with dspy.context(lm=embedded_lm):
            out = program(problem=PROBLEM)
        assert out.answer == "7"
        told = [note for note in out.run.notes if "gate: accepted" in note]
        said[scoring] = sorted(float(note.split("accepted, ")[1].split(" against")[0]) for note in told)
    assert len(said["draft"]) >= 4
    assert said["draft"] == pytest.approx(said["target"], rel=2e-3)


@pytest.mark.engine
def test_models_with_other_tokenizers_do_not_go_on_from_each_other(embedded_lm: dspy.LM) -> None:
    program = AsyncScaling(gate=rf.Gate(Perplexity(), 9.0), draft=rf.scripted("x"), target=embedded_lm)
    with dspy.context(lm=embedded_lm), pytest.raises(InputError, match="different tokenizers"):
        program(problem=PROBLEM)


def test_a_draft_of_its_own_follows_the_seed_of_the_model_in_use() -> None:
    seen: list[int | None] = []

    def draft(prompt: str, seed: int | None, index: int) -> str:
        seen.append(seed)
        return r"\boxed{4}"

    def seeds(own: dspy.LM, seed: int) -> list[int | None]:
        seen.clear()
        program = AsyncScaling(gate=rf.Gate(Perplexity(), 1e9), n=2, draft=own)
        with dspy.context(lm=rf.scripted("x").copy(seed=seed)):
            program(problem="How many?")
        return sorted(seen, key=str)

    own = rf.scripted(draft)
    assert seeds(own, 1) == seeds(own, 1) != seeds(own, 2)
    assert len(set(seeds(own, 1))) == 2
    assert seeds(own.copy(seed=5), 1) == seeds(own.copy(seed=5), 2)
