"""Yes or No as a number."""

from __future__ import annotations

import math
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.errors import ProgramError
from reasonflow.prompts.styles import choose_style
from reasonflow.prompts.verdict import NO_LOGPROBS, NO_VERDICT, read_verdict, verdict_word

SIGNATURE = dspy.Signature("problem, candidate -> score: float", "Is the candidate right?")


def at(token: str, **top: float) -> TokenLogprobs:
    """One place; `top` in probabilities, with the spellings' markers written as keywords cannot."""
    return place(token, top)


def place(token: str, top: dict[str, float]) -> TokenLogprobs:
    ranked = sorted(top.items(), key=lambda pair: -pair[1])
    return TokenLogprobs(token, math.log(top.get(token, 0.01)), tuple((text, math.log(p)) for text, p in ranked))


def test_the_published_score() -> None:
    # MARS-SQL reads P(Yes) = 0.8 off each of its samples and takes their mean: 0.8.
    assert read_verdict("Yes", [at("Yes", Yes=0.8, No=0.2)]).score == pytest.approx(0.8)


def test_all_spellings_count_and_the_rest_is_left_out() -> None:
    top = {" Yes": 0.3, "YES": 0.1, "\nyes": 0.1, "Ġyes": 0.1, "No": 0.1, " no": 0.1, "Maybe": 0.2}
    assert read_verdict("Yes", [place(" Yes", top)]) == (pytest.approx(0.75), None)


def test_words_that_only_begin_so_do_not_count() -> None:
    assert read_verdict("Not", [at("Not", Not=0.5, Yesterday=0.3)]) == (0.0, NO_VERDICT)


def test_the_first_place_that_holds_either_decides() -> None:
    tokens = [at("\n", **{"\n": 0.9, "Well": 0.1}), at("No", No=0.9, Yes=0.1), at("Yes", Yes=1.0)]
    assert read_verdict("No", tokens).score == pytest.approx(0.1)


def test_the_generated_word_counts_beyond_the_likeliest() -> None:
    assert read_verdict("Yes", [TokenLogprobs("Yes", math.log(0.1), (("No", math.log(0.3)),))]).score == (
        pytest.approx(0.25)
    )


def test_thoughts_are_skipped() -> None:
    thought = [at("<think>", **{"<think>": 1.0}), at("no", no=1.0), at("</think>", **{"</think>": 1.0})]
    verdict = at("Yes", Yes=0.6, No=0.2)
    assert read_verdict("Yes", [*thought, verdict]).score == pytest.approx(0.75)
    assert read_verdict("Yes", [*thought[1:], verdict], opened=True).score == pytest.approx(0.75)
    assert read_verdict("", thought[:2]) == (0.0, NO_VERDICT)
    assert read_verdict("", [thought[1]], opened=True) == (0.0, NO_VERDICT)


@pytest.mark.parametrize(
    ("text", "score", "repair"),
    [
        ("Yes.", 1.0, NO_LOGPROBS),
        ("**No**, because", 0.0, NO_LOGPROBS),
        ("The answer is yes", 1.0, NO_LOGPROBS),
        ("Perhaps", 0.0, f"{NO_LOGPROBS}, and it is {NO_VERDICT}"),
    ],
)
def test_without_log_probabilities_the_word_decides(text: str, score: float, repair: str) -> None:
    assert read_verdict(text, ()) == (score, repair)


@pytest.mark.parametrize(
    ("score", "word"), [(0.9, "Yes"), (0.5, "Yes"), (0.1, "No"), (True, "Yes"), ("yes", "Yes"), ("No", "No")]
)
def test_a_demo_shows_the_word(score: Any, word: str) -> None:
    assert verdict_word(score) == word


def test_only_one_float_can_be_a_verdict() -> None:
    assert choose_style(SIGNATURE, "verdict") == "verdict"
    with pytest.raises(ProgramError, match="probability"):
        choose_style(dspy.Signature("problem -> answer"), "verdict")
    with pytest.raises(ProgramError, match="exactly one output"):
        choose_style(dspy.Signature("problem -> a: float, b: float"), "verdict")
    with pytest.raises(ProgramError, match="no room for a reasoning"):
        choose_style(dspy.Signature("problem -> reasoning, score: float"), "verdict")


def judged(answer: Any, **options: Any) -> Any:
    with dspy.context(lm=rf.scripted(answer, **options)):
        return rf.Generate(SIGNATURE, style="verdict")(problem="2 + 2?", candidate="It is 5.")


def test_a_call_site_asks_for_one_short_word() -> None:
    prompts: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> Any:
        prompts.append(prompt)
        return {"Yes": 0.2, "No": 0.6}

    out = judged(answer)
    assert out.score == pytest.approx(0.25)
    assert out.run.repairs == []
    (span,) = out.run.spans
    assert span.max_tokens == 4
    asked = prompts[0]
    order = [asked.index(part) for part in ("Is the candidate right?", "Yes or No", "2 + 2?", "It is 5.")]
    assert order == sorted(order)


def test_what_had_to_be_guessed_stands_in_the_record() -> None:
    assert judged("Hm").run.repairs == [f"site: {NO_VERDICT}"]
    out = judged({"Yes": 0.6, "No": 0.4}, top_logprobs=0)
    assert (out.score, out.run.repairs) == (1.0, [f"site: {NO_LOGPROBS}"])


def test_it_asks_for_no_more_alternatives_than_the_engine_gives() -> None:
    site = rf.Generate(SIGNATURE, style="verdict")

    class Judge(rf.Program):
        def __init__(self) -> None:
            self.site = site

        def plan(self, problem: Any, candidate: Any) -> Any:
            return self.site(problem=problem, candidate=candidate)

    for engine, said in ((20, "logprobs=20"), (5, "logprobs=5"), (0, None)):
        with dspy.context(lm=rf.scripted("Yes", top_logprobs=engine)):
            shown = str(Judge().explain())
        assert (said in shown) if said else ("logprobs" not in shown)


def test_demos_teach_the_word() -> None:
    prompts: list[str] = []
    site = rf.Generate(SIGNATURE, style="verdict")
    site.demos = [dspy.Example(problem="1 + 1?", candidate="2", score=0.93)]
    with dspy.context(lm=rf.scripted(lambda prompt, seed, index: prompts.append(prompt) or "No")):
        site(problem="2 + 2?", candidate="5")
    assert "\n\nYes\n\n" in prompts[0]
    assert "0.93" not in prompts[0]
