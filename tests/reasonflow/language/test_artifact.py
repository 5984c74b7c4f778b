"""Artifacts: a program goes into a file and comes back the same, and a file can do nothing else."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import dspy
import pydantic
import pytest

import reasonflow as rf
from reasonflow.errors import ArtifactWarning, InputError, ProgramError
from reasonflow.language.refs import Ref
from reasonflow.programs import PROGRAMS, find, searches

VERSION_1 = """{
  "solve": {
    "traces": [], "train": [],
    "demos": [{"augmented": true, "problem": "1 + 1?", "reasoning": "One and one.", "answer": "2"}],
    "signature": {
      "instructions": "Count on your fingers.",
      "fields": [
        {"prefix": "Problem:", "description": "${problem}"},
        {"prefix": "Reasoning:", "description": "${reasoning}"},
        {"prefix": "Answer:", "description": "${answer}"}
      ]
    },
    "lm": null
  },
  "n": {"value": 3},
  "metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.4.1", "cloudpickle": "3.1"}},
  "reasonflow": {
    "format": 1,
    "class": "reasonflow.programs.self_consistency:SelfConsistency",
    "arguments": {"signature": "problem -> answer", "n": 8, "by": null, "config": {"temperature": 0.9}},
    "sites": {
      "solve": {
        "signature": {
          "name": "StringSignature", "instructions": "Count on your fingers.",
          "fields": [
            {"name": "problem", "kind": "input", "type": "str", "extra": {"prefix": "Problem:", "desc": "${problem}"}},
            {"name": "reasoning", "kind": "output", "type": "str", "extra": {"prefix": "Reasoning:", "desc": "-"}},
            {"name": "answer", "kind": "output", "type": "str", "extra": {"prefix": "Answer:", "desc": "${answer}"}}
          ]
        },
        "config": {"temperature": 0.9},
        "options": {"style": "boxed", "solution_tokens": null, "retries": 0, "floor_tokens": 64, "weight": 1.0}
      }
    },
    "choices": {"n": 3},
    "model": {"engine": "scripted", "model": "scripted"},
    "plan": "0000000000000000000000000000000000000000000000000000000000000000",
    "versions": {"reasonflow": "0.0.1", "dspy": "3.4.1"}
  }
}"""


class Part(pydantic.BaseModel):
    """A type that is a class of the user's."""

    name: str


class Ask(dspy.Signature):
    """Answer with care."""

    problem: str = dspy.InputField(desc="what is asked")
    kind: Literal["short", "long"] | None = dspy.InputField(default="short")
    parts: list[Part] = dspy.InputField()
    answer: int = dspy.OutputField(ge=0)


class Careful(rf.Program):
    """Takes what JSON has no words for."""

    def __init__(self, task: Any, *drafts: int, limits: Any = math.inf, **more: Any) -> None:
        self.task, self.drafts, self.limits, self.more = task, drafts, limits, more
        self.solve = rf.Generate(task, style="fields")

    def plan(self, **inputs: Any) -> Any:
        return rf.answer(self.solve(**inputs))

    def input_names(self) -> tuple[str, ...]:
        return tuple(self.solve.signature.input_fields)


class Outer(rf.Program):
    """A program given to another one."""

    def __init__(self, inner: rf.Program) -> None:
        self.inner = inner

    def plan(self, problem: Ref) -> Any:
        return rf.answer(self.inner(problem=problem))


class Small(rf.PDR):
    """A subclass whose constructor takes something else than its base."""

    def __init__(self, rounds: int = 2) -> None:
        super().__init__(widths=(2,) * rounds)


def kept(program: rf.Program, tmp_path: Path, allow: Any = ()) -> Any:
    """The program after a journey through a file."""
    program.save(tmp_path / "kept.json")
    return rf.load(tmp_path / "kept.json", allow=allow)


def changed(path: Path, change: Any) -> Path:
    """The artifact with its entry changed by `change(entry)`."""
    whole = json.loads(path.read_text())
    change(whole["reasonflow"])
    path.write_text(json.dumps(whole))
    return path


def prompts(program: rf.Program) -> list[str]:
    """What the program asks, one text a call."""
    seen: list[str] = []

    def answer(prompt: str, seed: int | None, index: int) -> str:
        seen.append(prompt)
        return "So it is.\n\\boxed{1}"

    with dspy.context(lm=rf.scripted(answer)):
        program(problem="p")
    return seen


def test_what_was_learnt_and_chosen_comes_back(tmp_path: Path) -> None:
    program = rf.PDR("problem -> answer", widths=(4, 2), distiller="top_k", k=1, config={"temperature": 0.5})
    program.widths.set((3, 2))
    program.draft.signature = program.draft.signature.with_instructions("Draft boldly.")
    program.draft.demos = [dspy.Example(problem="1+1?", reasoning="One and one.", answer="2")]
    program.refine.update_config(max_tokens=77, stop=["END"])
    program.refine.retries = 2
    program.budget = rf.Budget(calls=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = kept(program, tmp_path)
    assert type(back) is rf.PDR
    assert back.widths.value == (3, 2)
    assert (back.distiller, back.k, back.budget) == ("top_k", 1, rf.Budget(calls=40))
    assert back.refine.config == {"temperature": 0.5, "max_tokens": 77, "stop": ["END"]}
    assert back.refine.retries == 2
    assert prompts(back) == prompts(program)
    assert "One and one." in prompts(back)[0]
    assert "Draft boldly." in prompts(back)[0]


def test_arguments_and_signatures_keep_their_types(tmp_path: Path) -> None:
    program = Careful(Ask, 1, 2, budget=rf.Budget(seconds=2.5), pairs={(1, 2): [("a",)]}, of=list[int | str])
    back = kept(program, tmp_path, allow=[Careful, Part])
    assert back.drafts == (1, 2)
    assert back.limits == math.inf
    assert back.more == program.more
    assert back.task.equals(Ask)
    assert back.task.instructions == "Answer with care."
    assert {name: info.annotation for name, info in back.task.fields.items()} == {
        name: info.annotation for name, info in Ask.fields.items()
    }
    assert back.task.input_fields["kind"].default == "short"
    with pytest.raises(pydantic.ValidationError):
        back.task(problem="p", parts=[], answer=-1)


def test_a_changed_signature_of_a_site_comes_back(tmp_path: Path) -> None:
    program = rf.ChainOfThought()
    program.solve.signature = program.solve.signature.append("confidence", dspy.OutputField(), type_=float)
    back = kept(program, tmp_path)
    assert back.solve.signature.output_fields["confidence"].annotation is float


def test_a_subclass_is_made_as_it_was_called(tmp_path: Path) -> None:
    back = kept(Small(3), tmp_path, allow=Small)
    assert type(back) is Small
    assert back.widths.value == (2, 2, 2)


def test_programs_inside_and_what_is_compiled_come_back(tmp_path: Path) -> None:
    inner = rf.SelfConsistency(n=2)
    inner.n.set(5)
    inner.solve.demos = [dspy.Example(problem="1+1?", reasoning="One and one.", answer="2")]
    inner._compiled = True  # DSPy leaves a compiled part out of the state of the whole
    outer = Outer(inner)
    outer._compiled = True
    back = kept(outer, tmp_path, allow=[Outer])
    assert back._compiled
    assert back.inner._compiled
    assert [name for name, _ in back.named_parameters()] == []
    assert back.inner.n == 5
    assert prompts(back) == prompts(outer)
    assert "One and one." in prompts(back)[0]


def test_dspys_own_loading_reads_the_same_file(tmp_path: Path) -> None:
    program = rf.PDR(widths=(4, 2))
    program.widths.set((8,))
    program.draft.demos = [dspy.Example(problem="1+1?", reasoning="One and one.", answer="2")]
    program.save(tmp_path / "pdr.json")
    other = rf.PDR(widths=(4, 2))
    other.load(tmp_path / "pdr.json")
    assert other.widths == (8,)
    assert [demo["reasoning"] for demo in other.draft.demos] == ["One and one."]


def test_no_engine_and_no_credential_is_written_or_taken(tmp_path: Path) -> None:
    program = rf.ChainOfThought()
    program.set_lm(dspy.LM("openai/gpt-4o-mini", api_key="sk-hidden", temperature=0.3))
    path = tmp_path / "cot.json"
    program.save(path)
    assert "sk-hidden" not in path.read_text()
    assert json.loads(path.read_text())["solve"]["lm"] is None
    assert program.solve.lm is not None
    whole = json.loads(path.read_text())
    whole["solve"] |= {"lm": {"model": "openai/evil", "api_base": "http://evil"}, "forward": "taken over"}
    path.write_text(json.dumps(whole))
    with pytest.warns(ArtifactWarning, match=r"which are not stored: solve \(openai/gpt-4o-mini\)"):
        back: Any = rf.load(path)
    assert back.solve.lm is None
    assert callable(back.solve.forward)
    with pytest.raises(InputError, match="holds a credential"):
        Careful("problem -> answer", api_key="sk-hidden").save(path)
    with pytest.raises(InputError, match="holds a credential"):
        Careful("problem -> answer", settings={"openai_api_key": "sk-hidden"}).save(path)
    scripted = rf.ChainOfThought()
    scripted.set_lm(rf.scripted("\\boxed{1}"))
    scripted.save(path)  # DSPy's own way would ask the engine for its function


def test_what_has_no_json_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.json"
    with pytest.raises(InputError, match=r"argument 'limits' of Careful\['how'\] cannot be saved.*function"):
        Careful("problem -> answer", limits={"how": lambda: 1}).save(path)

    class Odd(dspy.Signature):
        problem: str = dspy.InputField()
        answer: complex = dspy.OutputField()

    with pytest.raises(InputError, match=r"field 'answer' of argument 'task' of Careful.*complex"):
        Careful(Odd).save(path)
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(InputError, match="contains itself"):
        Careful("problem -> answer", limits=looped).save(path)
    program = rf.ChainOfThought()
    program.solve.demos = [dspy.Example(problem=object(), answer="2")]
    with pytest.raises(InputError, match="ChainOfThought cannot be saved"):
        program.save(path)
    assert list(tmp_path.iterdir()) == []


def test_names_an_artifact_uses_itself(tmp_path: Path) -> None:
    class Clash(rf.Program):
        def __init__(self) -> None:
            self.reasonflow = rf.Generate("problem -> answer")

        def plan(self, problem: Ref) -> Any:
            return rf.answer(self.reasonflow(problem=problem))

    with pytest.raises(ProgramError, match="artifacts use that name"):
        Clash().save(tmp_path / "clash.json")


def test_only_allowed_classes_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Small().save(path)
    with pytest.raises(InputError, match=r"Small, which is not allowed"):
        rf.load(path)
    with pytest.raises(InputError, match=r"PDR, which is not allowed|Small, which is not allowed"):
        rf.load(path, allow=[rf.PDR])
    with pytest.raises(InputError, match="names no class"):
        rf.load(path, allow=["Small"])
    rf.ChainOfThought().save(path)
    for evil in ("antigravity:open", "os:system", "reasonflow.programs.pdr:rf.Program", "reasonflow.programs_x:A", "x"):
        changed(path, lambda entry, evil=evil: entry.update({"class": evil}))
        with pytest.raises(InputError, match=r"not allowed|no class"):
            rf.load(path)
    assert "antigravity" not in sys.modules
    changed(path, lambda entry: entry.update({"class": "pydantic.main:BaseModel"}))
    with pytest.raises(InputError, match=r"is no rf\.Program"):
        rf.load(path, allow="pydantic.main:BaseModel")


def test_the_class_of_a_script_is_known_where_the_script_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Small().save(path)
    changed(path, lambda entry: entry.update({"class": "__main__:Small"}))
    assert type(rf.load(path, allow=[Small])) is Small


def test_version_1_loads_and_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(VERSION_1)
    lm = rf.scripted("\\boxed{1}", model="another")
    with dspy.context(lm=lm), pytest.warns(ArtifactWarning) as caught:
        back: Any = rf.load(path)
    [warning] = caught
    message = str(warning.message)
    assert "SelfConsistency from old.json differs from what was saved" in message
    assert "reasonflow 0.0.1, now " in message
    assert "model scripted, now another" in message
    assert "its plan is not the one it was saved with" in message
    assert warning.filename == __file__
    assert back.n == 3
    assert back.solve.config == {"temperature": 0.9}
    asked = prompts(back)[0]
    assert "One and one." in asked
    assert "Count on your fingers." in asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is cut off"),
        (VERSION_1[:400], "is cut off"),
        (VERSION_1[: VERSION_1.rindex("}")], "is cut off"),
        ("hello", "is not JSON"),
        ("[1]", "is no ReasonFlow artifact"),
        ('{"metadata": {}}', "the state of a DSPy program"),
        (VERSION_1.replace('"format": 1', '"format": 99'), r"has format 99; this ReasonFlow reads up to 1"),
        (VERSION_1.replace('"format": 1,', ""), "is damaged\nwhy: format"),
        (VERSION_1.replace('"by": null', '"voters": 2'), "no argument 'voters' any more"),
        (VERSION_1.replace('"n": 8', '"n": {"$what": 1}'), "argument 'n' of SelfConsistency cannot be restored"),
        (VERSION_1.replace('"n": 8', '"n": {"$budget": {"x": 1}}'), "argument 'n' of SelfConsistency cannot be"),
        (VERSION_1.replace('"temperature": 0.9', '"temperature": -1'), "refuses the arguments(.|\n)*temperature=-1"),
        (VERSION_1.replace('"sites": {\n      "solve"', '"sites": {\n      "other"'), "has no call site 'other'"),
        (VERSION_1.replace('{\n  "solve": {', '{\n  "other": {'), "no state of the call site 'solve'"),
        (VERSION_1.replace('"demos": [', '"demoes": [').replace('"instructions": "C', '"x": "C', 1), "is damaged"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        rf.load(path)


def test_every_beginning_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    for length in range(0, len(VERSION_1) - 1, 97):
        path.write_text(VERSION_1[:length])
        with pytest.raises(InputError, match="is cut off"):
            rf.load(path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_our_own_programs_need_no_permission(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "pages.jsonl"
    corpus.write_text('{"text": "A page."}\n')
    program = find(name)("problem -> answer", **({"retriever": str(corpus)} if searches(find(name)) else {}))
    assert prompts(kept(program, tmp_path)) == prompts(program)


def test_a_new_argument_without_a_default_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Outer(rf.ChainOfThought()).save(path)
    changed(path, lambda entry: entry["arguments"].clear())
    with pytest.raises(InputError, match="now needs an argument 'inner'"):
        rf.load(path, allow=[Outer])


def test_json_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"artifacts are \.json files"):
        rf.ChainOfThought().save(tmp_path / "p.pkl")
    with pytest.raises(InputError, match="unpickled"):
        rf.load(tmp_path / "p.pkl")
    with pytest.raises(InputError, match="no artifact at"):
        rf.load(tmp_path / "none.json")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_whole_program_is_pickled_as_dspy_does_it(tmp_path: Path) -> None:
    program = Small(2)
    program.widths.set((3,))
    program.save(tmp_path / "whole", save_program=True)
    back = dspy.load(tmp_path / "whole", allow_pickle=True)
    assert type(back) is Small
    assert back.widths == (3,)
    assert len(prompts(back)) == len(prompts(program))
    assert kept(back, tmp_path, allow=[Small]).widths == (3,)  # how it was made travels along
