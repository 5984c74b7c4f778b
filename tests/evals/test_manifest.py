"""Folders: one evaluation each, one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

import reasonflow as rf
from reasonflow.errors import InputError
from reasonflow.evals.dataset import Problem
from reasonflow.evals.manifest import FILE, claimed, describe, differences, write_or_match
from tests.reasonflow.backends.openai_server import OpenAIServer

PROBLEMS = [Problem(id="a", inputs={"problem": "2 + 3"}, answer="5")]


def manifest(program: dspy.Module | None = None, lm: dspy.LM | None = None, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"samples": 2, "seed": 0, "benchmark": "b", "settings": {"n": 4}, **changes}
    problems = arguments.pop("problems", PROBLEMS)
    return describe(program or rf.SelfConsistency(n=4), problems, lm=lm or scripted(), **arguments)


def scripted(**options: Any) -> dspy.LM:
    return rf.scripted(lambda *_: "\\boxed{5}", **options)


def laid_out(layout: Any) -> rf.Program:
    program = rf.SelfConsistency(n=4)
    program.layout = layout
    return program


def test_equal_evaluations_have_equal_manifests_and_match(tmp_path: Path) -> None:
    assert manifest() == manifest()
    write_or_match(tmp_path, manifest())
    write_or_match(tmp_path, manifest())


def test_what_an_engine_learns_at_its_start_makes_no_other_evaluation_of_it(tmp_path: Path) -> None:
    """An evaluation that ran as a process's second one could not be resumed as the first, and so no suite on a GPU."""
    with OpenAIServer(answer=lambda *_: "\\boxed{5}") as server:
        lm = rf.openai("m", base_url=server.base_url, max_tokens=8)
        backend = lm.engine.runtime.backend
        asked = backend.fingerprint()
        with dspy.context(lm=lm):
            rf.ChainOfThought()(problem="2 + 3")
        assert backend.fingerprint() != asked
        write_or_match(tmp_path, manifest(lm=lm))
        lm.engine.close()
        again = rf.openai("m", base_url=server.base_url, max_tokens=8)
        write_or_match(tmp_path, manifest(lm=again))
        again.engine.close()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"samples": 3}, "samples was 2, now 3"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"settings": {"n": 8}}, "settings.n was 4, now 8"),
        ({"program": rf.SelfConsistency(n=8)}, "state was"),
        ({"program": rf.ChainOfThought()}, "program was"),
        ({"program": rf.SelfConsistency("question -> answer", n=4)}, "signature.solve was"),
        ({"problems": [Problem(id="a", inputs={"problem": "2 + 4"}, answer="5")]}, "problems_digest was"),
        ({"benchmark": "c"}, 'benchmark was "b", now "c"'),
        ({"program": laid_out("dspy")}, 'layouts was null, now {"": "dspy"}'),
        ({"lm": scripted(model="other")}, "model was"),
        ({"lm": scripted(temperature=0.3)}, "sampling.temperature was"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: dict[str, Any], names: str) -> None:
    write_or_match(tmp_path, manifest())
    with pytest.raises(InputError, match="another evaluation") as caught:
        write_or_match(tmp_path, manifest(**change))
    assert names in caught.value.why
    assert "--out" in caught.value.fix


def test_demos_are_part_of_a_program(tmp_path: Path) -> None:
    program = rf.ChainOfThought()
    before = manifest(program)
    program.predictors()[0].demos = [dspy.Example(problem="1 + 1", reasoning="two", answer="2")]
    assert [line.split(" was")[0] for line in differences(before, manifest(program))] == ["state"]


def test_the_seed_of_the_language_model_is_not_the_evaluations() -> None:
    assert manifest(lm=scripted(seed=3)) == manifest(lm=scripted(seed=4))


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{half")
    with pytest.raises(InputError, match="damaged"):
        write_or_match(tmp_path, manifest())


def test_a_folder_is_for_one_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from reasonflow.evals.manifest import claimed\n"
        "with claimed(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with pytest.raises(InputError, match=f"process id is {other.pid}"), claimed(tmp_path):
        pytest.fail("two processes in one folder")
    other.kill()  # no clean end, and yet no stale lock
    other.communicate()
    with claimed(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), claimed(tmp_path / "file" / "run"):
        pytest.fail("a folder inside a file")
