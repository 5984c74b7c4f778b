"""Trajectories are read whatever the model wrote; what is well formed is read as it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import ProgramError
from reasonflow.programs.trajectories import (
    MULTIVERSE,
    THREADWEAVER,
    Block,
    Dialect,
    Part,
    Thread,
    Trajectory,
    parse,
    planned,
)

BLOCK = (
    "<Parallel>\n<Outlines>\n<Outline>1: the left side</Outline>\n<Outline>2: the right side</Outline>\n</Outlines>\n"
    "<Thread>\n1: left is 3</Thread><Thread>\n2: right is 4</Thread>\n</Parallel>"
)
WELL_FORMED = f"Two sides.\n{BLOCK}\nSo 7. \\boxed{{7}}"


def whats(trajectory: Trajectory) -> list[str]:
    return [repair.what for repair in trajectory.repairs]


def texts(block: Block) -> dict[str, str]:
    return {thread.id: said(thread) for thread in block.threads}


def said(thread: Thread) -> str:
    return "".join(str(part) for part in thread.parts).strip()


def test_a_well_formed_trajectory() -> None:
    read = parse(WELL_FORMED)
    assert read.well_formed
    assert read.sequential == "Two sides.\n\nSo 7. \\boxed{7}"
    (block,) = read.blocks
    assert [(each.id, each.text) for each in block.outlines] == [("1", "the left side"), ("2", "the right side")]
    assert texts(block) == {"1": "left is 3", "2": "right is 4"}
    assert read.text[block.start : block.end] == BLOCK
    assert parse(WELL_FORMED, strict=True) == read


def test_blocks_follow_each_other() -> None:
    read = parse(f"{BLOCK} then {BLOCK}")
    assert [isinstance(part, Block) for part in read.parts] == [True, False, True]
    assert read.well_formed


def test_multiverse_has_other_words_and_blocks_inside_each_other() -> None:
    inner = "<Parallel><Goal><Outline>2.1: a</Outline></Goal><Path>2.1: deep</Path></Parallel>"
    text = (
        "<Parallel><Goal><Outline>1: x</Outline><Outline>2: y</Outline></Goal><Path>1: one</Path>"
        f"<Path>2: before {inner} after</Path><Conclusion>both</Conclusion></Parallel> end"
    )
    read = parse(text, MULTIVERSE)
    assert read.well_formed
    (block,) = read.blocks
    assert block.conclusion == "both"
    before, deep, after = block.threads[1].parts
    assert (before, after) == (" before ", " after")
    assert isinstance(deep, Block)
    assert texts(deep) == {"2.1": "deep"}


def test_deeper_than_the_dialect_allows_is_text() -> None:
    text = WELL_FORMED.replace("left is 3", "left <Parallel> is 3")
    read = parse(text)
    assert whats(read) == ["<Parallel> does not belong here: it is text"]
    assert texts(read.blocks[0])["1"] == "left <Parallel> is 3"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("</Outline>\n<Outline>2", "\n<Outline>2", "<Outline> is not closed before <Outline>"),
        ("</Outlines>", "", "<Outlines> is not closed before <Thread>"),
        ("</Outline>\n</Outlines>", "\n</Outlines>", "<Outline> is not closed before </Outlines>"),
        ("left is 3</Thread>", "left is 3", "<Thread> begins inside another, which is closed"),
        ("right is 4</Thread>", "right is 4", "<Thread> is not closed before </Parallel>"),
        ("\n</Parallel>", "", "<Parallel> is not closed"),
        ("<Parallel>\n", "", "<Outlines> begins outside of a block: one is begun with it"),
        ("<Outlines>\n", "", "<Outline> begins outside of <Outlines>"),
        ("Two sides.", "Two </Thread> sides.", "</Thread> does not belong here: it is text"),
        ("<Thread>\n2: right", "<Thread>\nright", "a thread without a number is taken for 2"),
        ("<Outline>2: ", "<Outline>", "an outline without a number is dropped"),
        ("<Outline>2: ", "<Outline>1: ", "a second outline 1 is dropped"),
        ("<Thread>\n2: right", "<Thread>\n1: right", "a second thread 1"),
        ("<Thread>\n2: right is 4</Thread>", "", "outline 2 has no thread"),
        ("<Thread>\n2: right is 4</Thread>", "<Thread>\n2: 4</Thread><Thread>3: x</Thread>", "thread 3 has no outline"),
        ("left is 3", "left </Parallel> is 3", "</Parallel> does not belong here: it is text"),
    ],
)
def test_what_is_malformed_is_repaired_and_told(old: str, new: str, what: str) -> None:
    text = WELL_FORMED.replace(old, new)
    assert text != WELL_FORMED
    read = parse(text)
    assert what in whats(read)
    assert "left" in "".join(map(said, read.blocks[0].threads))
    with pytest.raises(ProgramError, match=re.escape("the trajectory is malformed")):
        parse(text, strict=True)


def test_an_answer_behind_a_thread_that_is_not_closed_is_sequential() -> None:
    read = parse(WELL_FORMED.replace("right is 4</Thread>", "right is 4"))
    assert read.sequential.endswith("So 7. \\boxed{7}")
    assert texts(read.blocks[0])["2"] == "right is 4"


def test_the_outlines_of_the_open_block() -> None:
    begun = WELL_FORMED[: WELL_FORMED.index("</Outlines>")]
    for text in (begun, f"{begun}</Outlines>", f"{begun}</Outlines>\n"):
        outlines, repairs = planned(text)
        assert [outline.id for outline in outlines] == ["1", "2"]
        assert not repairs
    assert planned(f"{WELL_FORMED} and {begun}")[0] == planned(begun)[0]
    twice = begun.replace("<Outline>2", "<Outline>1: again</Outline><Outline>no number</Outline><Outline>2")
    outlines, repairs = planned(twice)
    assert [(outline.id, outline.text) for outline in outlines] == [("1", "the left side"), ("2", "the right side")]
    assert len(repairs) == 2


@pytest.mark.parametrize("text", ["", "no block", WELL_FORMED, WELL_FORMED[: WELL_FORMED.index("2: right")]])
def test_no_open_block_has_no_outlines(text: str) -> None:
    assert planned(text) == ((), ())


TAGS = [
    f"<{end}{tag}>"
    for end in ("", "/")
    for tag in ("Parallel", "Outlines", "Goal", "Outline", "Thread", "Path", "Conclusion")
]
ANY = st.lists(
    st.one_of(st.sampled_from(TAGS), st.sampled_from(["1:", "2:", " 2.1 :", "\n", "\\boxed{4}"]), st.text(max_size=4)),
    max_size=30,
).map("".join)
DIALECTS = st.sampled_from([THREADWEAVER, MULTIVERSE])


def pieces(parts: tuple[Part, ...], text: str) -> list[str]:
    return [text[part.start : part.end] if isinstance(part, Block) else part for part in parts]


def check(text: str, dialect: Dialect) -> None:
    read = parse(text, dialect)
    assert "".join(pieces(read.parts, text)) == text
    blocks = list(read.blocks)
    while blocks:
        block = blocks.pop()
        ends = [block.start]
        for thread in block.threads:
            assert ends[-1] <= thread.start <= thread.end <= block.end
            assert text[thread.start : thread.end].endswith("".join(pieces(thread.parts, text)))
            ends.append(thread.end)
            blocks += [part for part in thread.parts if isinstance(part, Block)]
        if not block.threads and block.outlines and block.closed:
            assert any("has no thread" in what for what in whats(read))
    planned(text, dialect)


@given(text=ANY, dialect=DIALECTS)
def test_any_text_is_read_and_none_of_it_is_lost(text: str, dialect: Dialect) -> None:
    check(text, dialect)


@pytest.mark.long
@settings(max_examples=100_000, deadline=None)
@given(text=ANY, dialect=DIALECTS)
def test_any_text_is_read_100_000_times(text: str, dialect: Dialect) -> None:
    check(text, dialect)


@given(cut=st.integers(0, len(WELL_FORMED)))
def test_a_trajectory_that_is_cut_anywhere_keeps_its_threads(cut: int) -> None:
    check(WELL_FORMED[:cut], THREADWEAVER)
    whole = parse(WELL_FORMED).blocks[0].threads
    for block in parse(WELL_FORMED[:cut]).blocks:
        ended = [thread for thread in block.threads if thread.closed]
        assert ended == list(whole[: len(ended)])
        assert len(ended) == WELL_FORMED[:cut].count("</Thread>")


BODY = st.text("ab \n.=1", max_size=12)


@given(blocks=st.lists(st.lists(BODY, min_size=1, max_size=4), min_size=1, max_size=3), around=BODY)
def test_what_is_well_formed_is_read_as_it_is(blocks: list[list[str]], around: str) -> None:
    text = around
    for threads in blocks:
        outlines = "".join(f"<Outline>{number}: plan</Outline>\n" for number, _ in enumerate(threads, 1))
        bodies = "".join(f"<Thread>\n{number}: {body}</Thread>" for number, body in enumerate(threads, 1))
        text += f"<Parallel>\n<Outlines>\n{outlines}</Outlines>\n{bodies}\n</Parallel>{around}"
    read = parse(text, strict=True)
    assert [[thread.parts for thread in block.threads] for block in read.blocks] == [
        [(f" {body}",) for body in threads] for threads in blocks
    ]
