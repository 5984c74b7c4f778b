"""A retriever within bounds: whatever it does is an outcome, and equal queries are asked once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.programs.retrieval import Bounded, Found, Passage
from reasonflow.programs.retrieval.cache import FILE


class Counting:
    """Finds the query itself, after a while, and counts what it is asked."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.pause_s = pause_s
        self.cancelled = 0

    async def search(self, query: str, k: int) -> Sequence[Passage]:
        self.asked[query, k] += 1
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [Passage(id=query, text=query)] if query else []


def bounded(retriever: object, **options: Any) -> Bounded:
    return Bounded(retriever, **{"deadline_s": None, "longest": 1000, **options})


def ask(retriever: object, query: str = "q", k: int = 3, **options: Any) -> Found:
    return asyncio.run(bounded(retriever, **options).ask(query, k))


def test_what_is_found_with_its_time() -> None:
    found = ask(Counting(pause_s=0.02))
    assert (found.outcome, found.error, found.cached) == ("found", "", False)
    assert found.passages == (Passage(id="q", text="q"),)
    assert found.seconds >= 0.02


def test_nothing_found_is_an_outcome() -> None:
    assert ask(Counting(), query="").outcome == "nothing"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("no such index"), "ValueError: no such index"),
        (TimeoutError("its own"), "TimeoutError: its own"),
        (SystemExit(3), "raised SystemExit"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_whatever_is_raised_is_an_outcome(raised: BaseException, told: str) -> None:
    async def failing(query: str) -> list[str]:
        raise raised

    found = ask(failing)
    assert (found.outcome, found.passages) == ("failed", ())
    assert told in found.error


def test_a_retriever_that_is_cancelled_inside_has_failed_and_its_caller_goes_on() -> None:
    async def interrupted(query: str) -> list[str]:
        inner = asyncio.create_task(asyncio.sleep(10))
        asyncio.get_running_loop().call_later(0.01, inner.cancel)
        await inner
        return [query]

    found = ask(interrupted, deadline_s=5)
    assert (found.outcome, found.error) == ("failed", "CancelledError: interrupted gave up by itself")


@pytest.mark.parametrize("deadline_s", [None, 5])
def test_a_cancelled_caller_is_cancelled(deadline_s: float | None) -> None:
    retriever = Counting(pause_s=10)

    async def by_task_and_by_scope() -> tuple[bool, bool]:
        searching = bounded(retriever, deadline_s=deadline_s)
        task = asyncio.create_task(searching.ask("q", 1))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        with anyio.move_on_after(0.01) as scope:
            await searching.ask("q", 1)
        return task.cancelled(), scope.cancelled_caught

    assert asyncio.run(by_task_and_by_scope()) == (True, True)
    assert retriever.cancelled == 2


def test_a_malformed_result_is_a_failure_that_names_it() -> None:
    found = ask(lambda query: [{"title": "T"}])
    assert found.outcome == "failed"
    assert "passage 1 has no text" in found.error


def test_a_result_of_an_own_retriever_is_looked_at_too() -> None:
    class Careless:
        async def search(self, query: str, k: int) -> Any:
            return ["a text", {"text": "a row"}, Passage(id="1", text="one too many")]

    found = ask(Careless(), k=2)
    assert [passage.text for passage in found.passages] == ["a text", "a row"]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_hang_ends_at_the_deadline(asynchronous: bool) -> None:
    free = threading.Event()

    def hanging(query: str) -> list[str]:
        free.wait(timeout=10)
        return [query]

    async def within() -> Found:
        found = await bounded(Counting(pause_s=10) if asynchronous else hanging, deadline_s=0.05).ask("q", 1)
        free.set()  # or the process would wait for the thread
        return found

    found = asyncio.run(within())
    assert (found.outcome, found.passages) == ("timed out", ())
    assert "0.05 s" in found.error
    assert 0.05 <= found.seconds < 5


def test_a_deadline_that_a_library_makes_an_error_of_is_still_one() -> None:
    async def translating(query: str) -> list[str]:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            raise ConnectionError("the request was interrupted") from error
        return [query]

    assert ask(translating, deadline_s=0.02).outcome == "timed out"


def test_a_failure_is_not_remembered() -> None:
    answers = iter([ValueError("down"), ["up"]])

    def recovering(query: str) -> list[str]:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    async def twice() -> list[str]:
        searching = bounded(recovering)
        return [(await searching.ask("q", 1)).outcome for _ in range(2)]

    assert asyncio.run(twice()) == ["failed", "found"]


def test_a_huge_page_is_cut_and_costs_little() -> None:
    page = "x" * 10_000_000
    found = ask(lambda query: [{"text": page, "title": page}] * 5, k=5, longest=100)
    assert {len(passage.text) for passage in found.passages} == {100}
    assert {len(passage.title) for passage in found.passages} == {100}
    assert found.seconds < 1


@given(longest=st.integers(1, 20), text=st.text(min_size=1, max_size=40).filter(str.strip))
@settings(max_examples=30, deadline=None)
def test_a_cut_text_is_a_beginning(longest: int, text: str) -> None:
    (passage,) = ask(lambda query: [text], longest=longest).passages
    assert text.startswith(passage.text)
    assert len(passage.text) == min(longest, len(text))


@given(queries=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_equal_queries_are_asked_once_however_they_meet(queries: list[tuple[str, int]]) -> None:
    retriever = Counting()

    async def all_at_once() -> list[Found]:
        searching = bounded(retriever)
        together = await asyncio.gather(*(searching.ask(query, k) for query, k in queries))
        return [*together, *[await searching.ask(query, k) for query, k in queries]]

    found = asyncio.run(all_at_once())
    assert retriever.asked == dict.fromkeys(queries, 1)
    assert sum(not each.cached for each in found) == len(set(queries))
    assert [each.passages[0].text for each in found] == [query for query, _ in queries] * 2


def test_equal_queries_of_several_event_loops_are_asked_once() -> None:
    retriever = Counting(pause_s=0.1)
    searching, together = bounded(retriever), threading.Barrier(4)

    def in_a_loop_of_its_own(_: int) -> Found:
        together.wait(timeout=10)
        return asyncio.run(searching.ask("q", 1))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(in_a_loop_of_its_own, range(4)))
    assert retriever.asked == {("q", 1): 1}
    assert sorted(each.cached for each in found) == [False, True, True, True]
    assert {each.passages for each in found} == {(Passage(id="q", text="q"),)}


def test_those_who_wait_share_a_failure() -> None:
    asked: list[str] = []

    async def failing(query: str) -> list[str]:
        asked.append(query)
        await asyncio.sleep(0.01)
        raise ValueError("down")

    async def both() -> list[Found]:
        searching = bounded(failing)
        return await asyncio.gather(searching.ask("q", 1), searching.ask("q", 1))

    assert [found.outcome for found in asyncio.run(both())] == ["failed", "failed"]
    assert asked == ["q"]


def test_who_waits_goes_on_when_the_first_is_cancelled() -> None:
    retriever = Counting(pause_s=0.05)

    async def leave() -> tuple[bool, list[Found]]:
        searching = bounded(retriever)
        first, *others = [asyncio.create_task(searching.ask("q", 1)) for _ in range(3)]
        await asyncio.sleep(0.01)
        first.cancel()
        found = await asyncio.gather(*others)
        await asyncio.wait([first])
        return first.cancelled(), found

    cancelled, found = asyncio.run(leave())
    assert cancelled
    assert [each.outcome for each in found] == ["found", "found"]
    assert sorted(each.cached for each in found) == [False, True]
    assert retriever.cancelled == 1
    assert retriever.asked == {("q", 1): 2}


def test_the_first_goes_on_when_one_who_waits_is_cancelled() -> None:
    retriever = Counting(pause_s=0.05)

    async def leave() -> tuple[bool, Found]:
        searching = bounded(retriever)
        first, second = [asyncio.create_task(searching.ask("q", 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        second.cancel()
        found = await first
        await asyncio.wait([second])
        return second.cancelled(), found

    cancelled, found = asyncio.run(leave())
    assert cancelled
    assert found.outcome == "found"
    assert (retriever.asked, retriever.cancelled) == ({("q", 1): 1}, 0)


def test_memory_keeps_what_was_used_last() -> None:
    retriever = Counting()

    async def several() -> list[bool]:
        searching = bounded(retriever, remembered=2)
        return [(await searching.ask(query, 1)).cached for query in "abacab"]

    # c pushes b out, since a was used after it.
    assert asyncio.run(several()) == [False, False, True, False, True, False]


def test_memory_of_nothing_asks_again() -> None:
    retriever = Counting()

    async def twice() -> list[bool]:
        searching = bounded(retriever, remembered=0)
        return [(await searching.ask("q", 1)).cached for _ in range(2)]

    assert asyncio.run(twice()) == [False, False]


def test_a_folder_answers_a_later_process(tmp_path: Path) -> None:
    query = 'Zürich "\ud800" 東京'
    passage = Passage(id="1", title="\ud800", text='line\n"quoted"', score=0.1 + 0.2)
    first = ask(lambda query: [passage], query, folder=tmp_path / "kept")
    again = ask(lambda query: pytest.fail("asked again"), query, folder=tmp_path / "kept")
    assert (first.cached, again.cached) == (False, True)
    assert first.passages == again.passages == (passage,)


def test_a_folder_remembers_that_nothing_was_found(tmp_path: Path) -> None:
    retriever = Counting()
    found = [ask(retriever, "", folder=tmp_path) for _ in range(2)]
    assert [(each.outcome, each.cached) for each in found] == [("nothing", False), ("nothing", True)]
    assert retriever.asked == {("", 3): 1}


def test_another_length_is_another_answer_on_disk(tmp_path: Path) -> None:
    lengths = [len(ask(lambda query: ["x" * 50], folder=tmp_path, longest=n).passages[0].text) for n in (5, 20, 5)]
    assert lengths == [5, 20, 5]


def test_a_folder_serves_several_threads(tmp_path: Path) -> None:
    def own(number: int) -> Found:
        return ask(Counting(), query=str(number % 5), folder=tmp_path)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(own, range(40)))
    assert [each.passages[0].text for each in found] == [str(number % 5) for number in range(40)]
    assert not any(each.error for each in found)


def test_a_cache_that_breaks_is_said_and_costs_no_answer(tmp_path: Path) -> None:
    searching = bounded(Counting(), folder=tmp_path)
    (tmp_path / FILE).write_bytes(b"no database, and longer than the header of one would be" * 100)
    found = asyncio.run(searching.ask("q", 1))
    assert found.outcome == "found"
    assert "not kept on disk" in found.error


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"deadline_s": 0}, "a deadline of 0 s"),
        ({"deadline_s": float("nan")}, "a deadline of nan s"),
        ({"longest": 0}, "passages of 0 characters"),
        ({"remembered": -1}, "a cache of -1 queries"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        bounded(Counting(), **options)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep what was found"):
        bounded(Counting(), folder=tmp_path / "file")


def test_no_passages_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(InputError, match="0 passages"):
        ask(Counting(), k=0)


def test_the_deadline_is_of_each_query_and_not_of_all() -> None:
    async def several() -> tuple[list[Found], float]:
        searching, began = bounded(Counting(pause_s=0.05), deadline_s=1), time.perf_counter()
        found = await asyncio.gather(*(searching.ask(str(number), 1) for number in range(40)))
        return found, time.perf_counter() - began

    found, seconds = asyncio.run(several())
    assert {each.outcome for each in found} == {"found"}
    assert seconds < 1
