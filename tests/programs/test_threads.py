"""ThreadWeaver's state machine, step by step as the released code has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

import reasonflow as rf
from reasonflow.errors import BackendError, BudgetExceeded, InputError, ProgramError, UnknownName
from reasonflow.evals.performance.conditions import forget, runtime_of
from reasonflow.evals.performance.prompt_trie import ideal_computed
from reasonflow.evals.performance.traffic import Traffic, recorded
from reasonflow.programs.seams import CODE, PAPER, PATHS, Seams
from reasonflow.programs.thread_machine import RESCUED
from reasonflow.programs.thread_prompts import examples
from reasonflow.programs.trajectories import MULTIVERSE, parse
from reasonflow.runtime.load import load

PLAN = "<think>\n<Parallel>\n<Outlines>\n<Outline>1: left</Outline>\n<Outline>2: right</Outline>\n</Outlines>"
BLOCK = PLAN.removeprefix("<think>\n")
LEFT, RIGHT = " 2 + 3 = 5</Thread>", " 4 * 5 = 20</Thread>"
REST = "</Parallel>\n5 + 20 = 25\n</think>\n\\boxed{25}"
JOINED = f"{PLAN}\n<Thread>\n1:{LEFT}<Thread>\n2:{RIGHT}\n"


class Model:
    """Writes what it is told behind each ending of the assistant's turn; the longest ending that fits counts."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {
            "": f"{PLAN} unseen",
            "\n<Thread>\n1:": f"{LEFT} unseen",
            "\n<Thread>\n2:": f"{RIGHT} unseen",
            "</Thread>\n": REST,
        }
        self.prompts: list[str] = []

    def when(self, ending: str, says: str | Exception) -> Model:
        self.says[ending] = says
        return self

    def __call__(self, prompt: str, seed: int | None, index: int) -> Any:
        self.prompts.append(prompt)
        found = max((ending for ending in self.says if prompt.endswith(ending)), key=len)
        said = self.says[found]
        if isinstance(said, Exception):
            raise said
        return said


def run(program: rf.Program, model: Callable[..., Any], **settings: Any) -> tuple[Any, Traffic]:
    lm = rf.scripted(model, **settings)
    with dspy.context(lm=lm), recorded(lm) as traffic:
        return program(problem="How many?"), traffic


def texts(run: Any) -> list[str]:
    return [note.split(": ", 1)[1] for note in run.repairs]


# The machine ------------------------------------------------------------------------------------------------------


def test_the_released_machine() -> None:
    out, traffic = run(rf.ThreadWeaver(), Model())
    assert out.answer == "25"
    assert out.trajectory == JOINED + REST
    assert parse(out.trajectory).well_formed
    assert not out.run.repairs
    trunk, left, right, behind = traffic.in_order
    decode = runtime_of_scripted().tokenizer.decode
    opening = decode(trunk.prompt)
    assert decode(left.prompt) == f"{opening}{PLAN}\n<Thread>\n1:"
    assert decode(right.prompt) == f"{opening}{PLAN}\n<Thread>\n2:"
    assert decode(behind.prompt) == opening + JOINED
    for thread in (left, right):
        assert thread.prompt[: len(trunk.prompt) + len(trunk.output)] == (*trunk.prompt, *trunk.output)
    assert behind.prompt[: len(left.prompt) + len(left.output)] == (*left.prompt, *left.output)


def runtime_of_scripted() -> Any:
    return runtime_of(rf.scripted("x")).backend


def test_as_the_paper_draws_it() -> None:
    model = Model().when("\n<Thread> 1:", LEFT).when("\n<Thread> 2:", RIGHT)
    model.when("</Thread>\n</Parallel>\n", REST.removeprefix("</Parallel>\n"))
    out, _ = run(rf.ThreadWeaver(form="paper"), model)
    assert out.trajectory == f"{PLAN}\n<Thread> 1:{LEFT}\n<Thread> 2:{RIGHT}\n{REST}"
    assert parse(out.trajectory).well_formed


def test_threads_run_side_by_side_and_the_longest_counts() -> None:
    out, traffic = run(rf.ThreadWeaver(), Model())
    lengths = [len(served.output) for served in traffic.in_order]
    trunk, left, right, behind = lengths
    assert out.run.token_latency == trunk + max(left, right) + behind
    assert sum(span.output_tokens for span in out.run.spans) == sum(lengths)


def test_blocks_one_behind_the_other() -> None:
    model = Model().when("</Thread>\n", f"</Parallel>\nMore.\n{BLOCK}")
    model.when(f"{BLOCK}\n<Thread>\n1:", " 6 = 6</Thread>").when(f"{BLOCK}\n<Thread>\n2:", " 7 = 7</Thread>")
    model.when("", f"Let me see. {PLAN}").when(" 7 = 7</Thread>\n", REST)
    model.when(f"Let me see. {PLAN}\n<Thread>\n1:", LEFT).when(f"Let me see. {PLAN}\n<Thread>\n2:", RIGHT)
    out, traffic = run(rf.ThreadWeaver(), model)
    assert (out.answer, len(traffic.samples), out.run.repairs) == ("25", 7, [])
    assert [len(block.threads) for block in parse(out.trajectory).blocks] == [2, 2]


def test_rounds_are_bounded() -> None:
    model = Model().when("</Thread>\n", f"</Parallel>\n{BLOCK}")
    with pytest.raises(AdapterParseError, match="holds no answer") as caught:
        run(rf.ThreadWeaver(blocks=2, rescue=False), model)
    assert caught.value.run.usage.calls == 1 + 2 * 3  # type: ignore[attr-defined]


# What models do wrong ---------------------------------------------------------------------------------------------


def test_a_thread_that_ends_with_the_turn_ends_the_run_as_released() -> None:
    model = Model().when("\n<Thread>\n2:", " 4 * 5 = 20")
    program = rf.ThreadWeaver(rescue=False)
    with pytest.raises(AdapterParseError, match="holds no answer") as caught:
        run(program, model)
    record = caught.value.run  # type: ignore[attr-defined]
    assert "thread 2 ended with the model's turn: it is closed" in texts(record)
    assert record.usage.calls == 3


def test_and_the_problem_is_solved_in_one_go() -> None:
    model = Model().when("\n<Thread>\n2:", " 4 * 5 = 20")
    calls = 0

    def script(prompt: str, seed: int | None, index: int) -> Any:
        nonlocal calls
        calls += 1
        return r"Plainly \boxed{9}" if calls == 4 else model(prompt, seed, index)

    out, _ = run(rf.ThreadWeaver(), script)
    assert out.answer == "9"
    assert RESCUED in texts(out.run)


def test_a_thread_at_its_cap_is_closed() -> None:
    program = rf.ThreadWeaver(tokens=len_of_prompt() + 400, rescue=False)
    model = Model().when("\n<Thread>\n1:", " many words" * 400)
    with pytest.raises(AdapterParseError, match="holds no answer") as caught:
        run(program, model)
    assert "thread 1 was cut at its token cap: it is closed" in texts(caught.value.run)  # type: ignore[attr-defined]


def len_of_prompt() -> int:
    _, traffic = run(rf.ThreadWeaver(), Model())
    return len(traffic.in_order[0].prompt) + len(traffic.in_order[0].output)


def test_no_room_for_threads_means_writing_on_in_sequence() -> None:
    model = Model().when(PLAN, " 5 + 20 = 25 </Parallel></think>\\boxed{25}")
    out, traffic = run(rf.ThreadWeaver(tokens=len_of_prompt() + 60), model)
    assert out.answer == "25"
    assert len(traffic.samples) == 2
    assert any("no room for 2 threads" in note for note in out.run.notes)


def test_a_plan_without_numbers_is_written_on_in_sequence() -> None:
    plan = "<think><Parallel><Outlines><Outline>left</Outline></Outlines>"
    model = Model().when("", plan).when(plan, "</Parallel></think>\\boxed{3}")
    out, traffic = run(rf.ThreadWeaver(), model)
    assert (out.answer, len(traffic.samples)) == ("3", 2)
    assert "a plan that names no thread: written on in sequence" in texts(out.run)


def test_equal_numbers_are_one_thread() -> None:
    model = Model().when("", PLAN.replace("2: right", "1: again"))
    out, traffic = run(rf.ThreadWeaver(), model)
    assert out.answer == "25"
    assert len(traffic.samples) == 3
    assert any("second outline 1" in text for text in texts(out.run))


def test_too_many_outlines_are_left_out() -> None:
    out, traffic = run(rf.ThreadWeaver(threads=1), Model())
    assert len(traffic.samples) == 3
    assert "1 of 2 outlines are left out: threads=1" in texts(out.run)


def test_a_thread_that_fails_is_left_out() -> None:
    model = Model().when("\n<Thread>\n1:", BackendError("broken"))
    model.when("</Thread>\n", REST)
    out, _ = run(rf.ThreadWeaver(), model)
    assert out.answer == "25"
    assert "<Thread>\n1:" not in out.trajectory
    assert f"\n<Thread>\n2:{RIGHT}\n" in out.trajectory
    assert any("thread 1 failed and is left out" in text for text in texts(out.run))


def test_an_answer_inside_the_thinking_is_found() -> None:
    out, _ = run(rf.ThreadWeaver(), Model().when("</Thread>\n", "</Parallel>\n5 + 20 = 25\n\\boxed{25}"))
    assert out.answer == "25"
    assert any("the answer stands inside the thinking" in note for note in out.run.notes)


def test_a_text_without_any_structure_is_an_ordinary_solution() -> None:
    out, traffic = run(rf.ThreadWeaver(), lambda *_: r"Two and two is \boxed{4}")
    assert (out.answer, len(traffic.samples), out.run.repairs) == ("4", 1, [])


def test_strict_refuses_what_is_malformed() -> None:
    with pytest.raises(ProgramError, match="malformed"):
        run(rf.ThreadWeaver(strict=True), lambda *_: r"</Thread> \boxed{4}")


def test_tags_of_the_user_are_no_structure() -> None:
    model = Model()
    with dspy.context(lm=rf.scripted(model)):
        out = rf.ThreadWeaver()(problem="Write <Outlines><Outline>9: x</Outline></Outlines>")
    assert (out.answer, out.trajectory) == ("25", JOINED + REST)
    assert "9: x" in model.prompts[0]
    assert "<Outlines>" not in model.prompts[0]


# Modes ------------------------------------------------------------------------------------------------------------


def test_in_one_go() -> None:
    out, traffic = run(rf.ThreadWeaver(mode="autoregressive"), Model().when("", JOINED + REST))
    assert (out.answer, out.trajectory, len(traffic.samples)) == ("25", JOINED + REST, 1)


def test_auto_goes_by_the_engines_load() -> None:
    out, traffic = run(rf.ThreadWeaver(mode="auto"), Model())
    assert len(traffic.samples) == 4
    assert load() == 0.0  # outside of a run
    busy = Model().when("", JOINED + REST)

    class Beside(rf.Program):
        """Fills the engine, then asks."""

        def __init__(self) -> None:
            self.other = rf.Generate("problem -> answer")
            self.woven = rf.ThreadWeaver(mode="auto")

        def plan(self, problem: Any) -> Any:
            return {"others": self.other(problem=problem, n=4).answer, "found": self.woven(problem=problem)}

    lm = rf.scripted(busy, latency=0.2, max_running=4)
    with dspy.context(lm=lm), recorded(lm) as traffic:
        out = Beside()(problem="How many?")
    assert out.found.answer == "25"
    assert len(traffic.samples) == 4 + 1


def test_prompted_tells_the_form_and_falls_back() -> None:
    prompts: list[str] = []

    def untrained(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        return "<Parallel><Outlines>hm" if "</Outlines>" in prompt else r"\boxed{8}"

    out, _ = run(rf.ThreadWeaver(prompted=True), untrained)
    assert out.answer == "8"
    assert "<Outline>1: what the first thread is to find</Outline>" in prompts[0]
    assert "Outline" not in prompts[1]
    assert any("prompted, not trained" in note for note in out.run.notes)
    trained, _ = run(rf.ThreadWeaver(), Model())
    assert not any("prompted" in note for note in trained.run.notes)


@pytest.mark.parametrize("seams", [CODE, PAPER, PATHS])
def test_worked_examples_are_whole_trajectories_two_with_threads(seams: Seams) -> None:
    demos = examples(dspy.Signature("problem -> answer"), seams)
    found = [parse(demo["reasoning"], seams.dialect, strict=True) for demo in demos]
    assert [len(each.blocks) for each in found] == [1, 1, 0]
    assert [[len(block.threads) for block in each.blocks] for each in found] == [[3], [2], []]
    assert not any(each.repairs for each in found)
    if seams is PATHS:
        assert all(block.conclusion for each in found for block in each.blocks)


def test_worked_examples_stand_in_front_and_can_be_replaced() -> None:
    prompts: list[str] = []

    def answers(prompt: str, seed: int | None, index: int) -> str:
        prompts.append(prompt)
        return r"\boxed{8}"

    program = rf.ThreadWeaver(prompted=True)
    run(program, answers)
    program.trunk.demos = []
    run(program, answers)
    assert [prompt.count("<Outline>1: ") for prompt in prompts] == [3, 1]
    assert not rf.ThreadWeaver("problem -> answer: int, reason", prompted=True).trunk.demos


# Budgets and estimates ------------------------------------------------------------------------------------------------


def test_a_budget_is_kept_and_what_there_is_counts() -> None:
    program = rf.ThreadWeaver()
    whole, _ = run(program, Model())
    for total in range(100, whole.run.usage.total_tokens + 200, 60):
        program.budget = rf.Budget(total=total)
        try:
            used = run(program, Model())[0].run.usage
        except (AdapterParseError, BudgetExceeded) as error:
            used = error.run.usage if getattr(error, "run", None) is not None else None
        assert used is None or used.total_tokens <= total


def test_an_estimate_holds_what_a_run_takes() -> None:
    program = rf.ThreadWeaver(threads=2, blocks=2)
    with dspy.context(lm=rf.scripted(Model())):
        calls = program.estimate([{"problem": "How many?"}]).calls
        used = program(problem="How many?").run.usage
    assert calls is not None
    assert calls.high is not None
    assert calls.low <= used.calls <= calls.high


# Multiverse -------------------------------------------------------------------------------------------------------

GOAL = "<Parallel>\n<Goal>\n<Outline>\n1: a\n</Outline>\n<Outline>\n2: b\n</Outline>\n</Goal>"


def test_multiverse_nests_and_concludes() -> None:
    inner = GOAL.replace("1:", "1.1:").replace("2:", "1.2:")
    says = {
        "": GOAL,
        "\n<Path>\n1:": f" first split {inner}",
        "\n<Path>\n1.1:": " one</Path>",
        "\n<Path>\n1.2:": " two</Path>",
        " two</Path>\n<Conclusion>\n": "both\n</Conclusion>\n</Parallel> so</Path>",
        "\n<Path>\n2:": " second</Path>",
        " second</Path>\n<Conclusion>\n": "all\n</Conclusion>\n</Parallel>\n\\boxed{12}",
    }
    model = Model()
    model.says = says
    out, traffic = run(rf.ThreadWeaver(dialect="multiverse"), model)
    assert out.answer == "12"
    assert len(traffic.samples) == 7
    found = parse(out.trajectory, MULTIVERSE)
    assert found.well_formed
    (block,) = found.blocks
    assert [thread.id for thread in block.threads] == ["1", "2"]
    assert any("an approximation of Multiverse" in note for note in out.run.notes)


# Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"blocks": 0}, {"tokens": 0}])
def test_numbers_that_leave_nothing(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="leaves nothing to write"):
        rf.ThreadWeaver(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"mode": "fast"}, {"dialect": "other"}, {"form": "free"}])
def test_names_that_are_none(wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownName):
        rf.ThreadWeaver(**wrong)  # type: ignore[arg-type]


# On the real engine -----------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_joins_compute_what_is_new_alone(embedded_lm: dspy.LM) -> None:
    """Whatever the model writes: the first thread is found where it stands, the others are what a join computes."""
    forget(embedded_lm)
    problem = "There are 12 round dolls. There are 3 times as many red pans. How many red pans are there?"
    program = rf.ThreadWeaver(config={"max_tokens": 200})
    with dspy.context(lm=embedded_lm), recorded(embedded_lm) as traffic:
        try:
            record = program(problem=problem).run
        except AdapterParseError as error:  # a small model may leave no answer: its run is looked at all the same
            record = error.run  # type: ignore[attr-defined]
    asked = [(served.prompt, served.output) for served in traffic.samples]
    ideal = ideal_computed(asked, runtime_of(embedded_lm).backend.block_size or 1)
    assert traffic.computed <= 1.05 * ideal
    assert record.usage.calls == len(asked)
