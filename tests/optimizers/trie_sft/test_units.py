"""A trajectory falls into the requests that the state machine sends, and nothing else does."""

from __future__ import annotations

import pytest

from reasonflow.errors import InputError
from reasonflow.optimizers.trie_sft.sums import trajectories
from reasonflow.optimizers.trie_sft.units import units_of
from reasonflow.programs.trajectories import MULTIVERSE, THREADWEAVER, Dialect
from tests.optimizers.trie_sft.tiny import units


class Characters:
    """A tokenizer whose ids are characters, so that tokens can be read."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))


def requests(text: str, dialect: Dialect = THREADWEAVER, end: str = "$") -> list[tuple[str, str]]:
    found = units_of((63,), text, Characters(), dialect, end=tuple(map(ord, end)))
    return [("".join(map(chr, unit.context)), "".join(map(chr, unit.completion))) for unit in found]


PLAN = "<Parallel>\n<Outlines>\n<Outline>1: a</Outline>\n<Outline>2: b</Outline>\n</Outlines>"
BLOCK = f"{PLAN}\n<Thread>\n1: x</Thread><Thread>\n2: yy</Thread>\n</Parallel>"


def test_a_block_is_a_plan_its_threads_and_what_follows() -> None:
    assert requests(f"so\n{BLOCK}\nthen") == [
        ("?", f"so\n{BLOCK}\nthen$"),
        ("?", f"so\n{PLAN}"),
        (f"?so\n{PLAN}\n<Thread>\n1:", " x</Thread>"),
        (f"?so\n{PLAN}\n<Thread>\n2:", " yy</Thread>"),
        (f"?so\n{PLAN}\n<Thread>\n1: x</Thread><Thread>\n2: yy</Thread>\n", "</Parallel>\nthen$"),
    ]


def test_the_next_block_is_planned_behind_the_joined_threads() -> None:
    found = requests(f"{BLOCK} and {BLOCK}")
    assert len(found) == 1 + 3 + 3 + 1
    joined = BLOCK.removesuffix("</Parallel>")
    assert found[4] == (f"?{joined}", f"</Parallel> and {PLAN}")
    assert found[5] == (f"?{BLOCK} and {PLAN}\n<Thread>\n1:", " x</Thread>")
    assert found[-1] == (f"?{BLOCK} and {joined}", "</Parallel>$")


def test_a_text_without_blocks_is_one_request() -> None:
    assert requests("42") == [("?", "42$")]
    assert requests("42", end="") == [("?", "42")]


def test_between_threads_stands_what_the_machine_writes() -> None:
    loose = f"{PLAN}<Thread> 1 : x</Thread>\n\n<Thread>\n\n2: yy</Thread></Parallel>"
    assert requests(loose) == requests(BLOCK)
    assert requests(BLOCK.replace("\n</Parallel>", "\n\n</Parallel>"))[-1][1] == "\n</Parallel>$"


def test_a_conclusion_is_written_by_the_model() -> None:
    text = BLOCK.replace("</Parallel>", "<Conclusion>\nxyy</Conclusion>\n</Parallel>")
    assert requests(text)[-1] == (
        f"?{BLOCK.removesuffix('</Parallel>')}",
        "<Conclusion>\nxyy</Conclusion>\n</Parallel>$",
    )


OUTER = "<Parallel>\n<Goal>\n<Outline>\n1: a\n</Outline>\n<Outline>\n2: b\n</Outline>\n</Goal>"
INNER = "<Parallel>\n<Goal>\n<Outline>\n1.1: c\n</Outline>\n</Goal>"
JOINED = f"{INNER}\n<Path>\n1.1: z</Path>\n<Conclusion>\n"
PATH = f"<Path>\n1: in {JOINED}zz</Conclusion>\n</Parallel> out</Path>"
NESTED = f"{OUTER}\n{PATH}\n<Path>\n2: y</Path>\n<Conclusion>\nzy</Conclusion>\n</Parallel>!"
"""A block of Multiverse with another in its first path."""


def test_a_block_inside_of_a_thread_is_asked_for_in_its_context() -> None:
    assert requests(NESTED, MULTIVERSE) == [
        ("?", f"{NESTED}$"),
        ("?", OUTER),
        (f"?{OUTER}\n<Path>\n1:", f" in {INNER}"),
        (f"?{OUTER}\n<Path>\n1: in {INNER}\n<Path>\n1.1:", " z</Path>"),
        (f"?{OUTER}\n<Path>\n1: in {JOINED}", "zz</Conclusion>\n</Parallel> out</Path>"),
        (f"?{OUTER}\n<Path>\n2:", " y</Path>"),
        (f"?{OUTER}\n{PATH}\n<Path>\n2: y</Path>\n<Conclusion>\n", "zy</Conclusion>\n</Parallel>!$"),
    ]


def test_a_path_block_without_a_conclusion_is_not_what_the_machine_makes() -> None:
    with pytest.raises(InputError, match="does not go on with <Conclusion>"):
        requests(NESTED.replace("<Conclusion>\nzy</Conclusion>\n", ""), MULTIVERSE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BLOCK.removesuffix("</Parallel>"), "not closed"),
        (BLOCK.replace("<Thread>\n2: yy</Thread>", ""), "outline 2 has no thread"),
        (f"{PLAN}\n<Thread>\n2: x</Thread><Thread>\n1: yy</Thread>\n</Parallel>", "outlines 1, 2, threads 2, 1"),
        (BLOCK.replace("</Thread><Thread>", "</Thread> now <Thread>"), "'now'"),
        (BLOCK.replace("</Outlines>\n", "</Outlines>\nfirst"), "'first'"),
    ],
)
def test_what_the_machine_cannot_have_made_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        requests(text)
    assert raised.value.fix


def test_units_share_the_tokens_of_the_whole_trajectory() -> None:
    whole, *others = units(trajectories(1, seed=3)[0])
    first_thread = next(unit for unit in others if unit.context != whole.context)
    for unit in (others[0], first_thread, others[-1]):
        assert unit.tokens == whole.tokens[: len(unit.tokens)]
    assert whole.completion[-1] == others[-1].completion[-1] == 3
