"""The suite `search-questions`: the same for given questions with their passages, and models that are told how.

Worked examples stand in front of each question. All passages of all questions are one index, so that each question's
own stand among those of the others. What counts is token F1, as HotpotQA has it; a run that never searches is worth
nothing, whatever it answers.
"""

from __future__ import annotations

from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem, read_problems
from reasonflow.evals.judging import Verdict, required_answer
from reasonflow.evals.qa import squad
from reasonflow.evals.qa.reading import question_of
from reasonflow.evals.searching import index_of
from reasonflow.evals.suites.closing import close
from reasonflow.evals.suites.findings import Findings, Goal
from reasonflow.evals.suites.searched import PARTS, Hunt, measure
from reasonflow.evals.suites.suite import Setting, Suite

MAX_TOKENS = 1024
"""Of a call."""
GOALS = (Goal(figure="parallel_query_rate", least=0.8),)


async def run(setting: Setting) -> Findings:
    """The table. Raises InputError without a file."""
    if setting.data is None:
        raise InputError(
            "search-questions has no questions of its own",
            fix="give --data FILE: JSON lines with question, answers and passages",
        )
    every = read_problems(setting.data, question_of)
    lm = setting.open(setting.model)
    hunt = Hunt(
        task="questions",
        problems=every[: setting.limit],
        index=index_of(every, (), setting.out / "index"),
        max_tokens=MAX_TOKENS,
        score=f1,
        judge=exact_match,
        prompted=True,
        goals=GOALS,
    )
    found = await measure(setting, lm, hunt)
    await close(lm)
    return found


def f1(problem: Problem, answer: str | None) -> float:
    """Of the gold answer that it meets best."""
    return squad.f1(answer or "", (problem.answer, *problem.aliases))


async def exact_match(problem: Problem, prediction: object) -> Verdict:
    """Whether the answer is one of the gold ones, normalised as in SQuAD."""
    answer = required_answer(prediction) or ""
    return Verdict(correct=squad.exact_match(answer, (problem.answer, *problem.aliases)))


SUITE = Suite(name="search-questions", model="embedded", limit=200, run=run, parts=PARTS, takes_data=True)
