"""How a model that is not trained to plan threads is told the form: in words, and by worked examples.

In words alone Qwen2.5-Coder-1.5B planned threads in none of 200 problems of GSM8K. Names and numbers of the examples
are made up, so that they answer no question of a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import dspy

from reasonflow.programs.seams import Seams
from reasonflow.prompts.styles import REASONING, answer_field

_TOLD = """Solve the problem. Where parts of it do not need each other, plan them first, in this form and with nothing
else in it:

<Parallel>
<{plan}>
<Outline>1: what the first thread is to find</Outline>
<Outline>2: what the second thread is to find</Outline>
</{plan}>

Each thread is then written by itself and does not see the others: <{thread}>, its number, a colon, its work,
</{thread}>. Behind all of them write </Parallel>, put their results together and finish the solution. Where every
step needs the one before it, solve the problem without any of this."""


class _Thread(NamedTuple):
    """What a thread is to find, and its work."""

    outline: str
    work: str


class _Example(NamedTuple):
    """A problem and its solution: what stands before the threads, the threads, what stands behind them."""

    problem: str
    before: str
    threads: tuple[_Thread, ...]
    behind: str
    conclusion: str
    """All results, for dialects that put them together before the block ends."""
    answer: str


_EXAMPLES = (
    _Example(
        "A bakery sells 14 rye loaves at 6 coins each and 25 rolls at 2 coins each in the morning. In the afternoon it "
        "gives away 5 buns and sells 9 cakes at 11 coins each. How many coins does it earn in the day?",
        "The earnings of each kind do not need each other.\n",
        (
            _Thread("coins for the loaves", "14 loaves at 6 coins each are 14 * 6 = 84 coins."),
            _Thread("coins for the rolls", "25 rolls at 2 coins each are 25 * 2 = 50 coins."),
            _Thread("coins for the cakes", "9 cakes at 11 coins each are 9 * 11 = 99 coins. Buns are given away."),
        ),
        "Together the bakery earns 84 + 50 + 99 = 233 coins.",
        "loaves 84, rolls 50, cakes 99",
        "233",
    ),
    _Example(
        "Ottla walks 3 km to school and back on each of 5 days. Her brother cycles 8 km once a day on 6 days. How many "
        "more kilometres does the brother make in these days?",
        "How far each of the two comes can be found by itself.\n",
        (
            _Thread("kilometres that Ottla walks", "There and back are 2 * 3 = 6 km a day. In 5 days: 5 * 6 = 30 km."),
            _Thread("kilometres that her brother cycles", "8 km on each of 6 days are 6 * 8 = 48 km."),
        ),
        "The brother makes 48 - 30 = 18 km more.",
        "Ottla 30 km, her brother 48 km",
        "18",
    ),
    _Example(
        "A tank holds 90 litres. A third is used, then 12 litres are added, then half of what is there is used. How "
        "many litres are left?",
        "Every step needs the one before it. A third of 90 is 90 / 3 = 30, so 90 - 30 = 60 litres are left. With 12 "
        "more there are 60 + 12 = 72 litres. Half of them is 72 / 2 = 36, and 72 - 36 = 36 litres are left.",
        (),
        "",
        "",
        "36",
    ),
)


def told(seams: Seams) -> str:
    """The task and the form, in words."""
    return _TOLD.format(plan=seams.dialect.plan, thread=seams.dialect.thread)


def examples(task: type[dspy.Signature], seams: Seams) -> list[dict[str, Any]]:
    """Worked examples as demos, whose problem is the signature's first input: two with threads, one without."""
    asked, answered = next(iter(task.input_fields)), answer_field(task)
    return [
        {asked: each.problem, REASONING: "".join(_written(each, seams)), answered: each.answer} for each in _EXAMPLES
    ]


def _written(example: _Example, seams: Seams) -> Iterator[str]:
    yield example.before
    if example.threads:
        numbered = list(enumerate(example.threads, 1))
        outlines = "".join(f"<Outline>{number}: {thread.outline}</Outline>\n" for number, thread in numbered)
        yield f"<Parallel>\n<{seams.dialect.plan}>\n{outlines}{seams.planned}"
        for number, thread in numbered:
            yield f"{seams.begin if number == 1 else seams.next}{number}: {thread.work}\n{seams.closed}"
        yield seams.ended(example.conclusion)
    yield example.behind
