"""The curriculum as the trainer sees it: token ids, spans that count, stages, draft sets."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from random import Random

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.embedded import DRAFT, EMBEDDED, PLAIN, STAGES, TWIN_STAGES
from reasonflow.evals.curriculum.instructions import PARAPHRASES
from reasonflow.evals.curriculum.vocabulary import END_OF_TURN, SIZE
from reasonflow.evals.tasks.problems import item, parse_source


@pytest.mark.parametrize("stage", [*PLAIN, *STAGES])
def test_examples_end_their_turn_and_count_their_completion(stage: str) -> None:
    for example in islice(EMBEDDED.examples(stage, 3), 60):
        ids = list(example.tokens)
        assert max(ids) < SIZE
        assert EMBEDDED.decode(ids[-1:]) == END_OF_TURN
        assert example.learned[-1] == (len(ids) - 1, len(ids))
        first = example.learned[0][0]
        assert EMBEDDED.decode(ids[:first]).endswith("<|im_start|>assistant\n")
        assert END_OF_TURN not in EMBEDDED.decode(ids[first:-1])


def test_another_seed_gives_other_examples_and_the_same_one_the_same() -> None:
    first, again, other = (
        [list(example.tokens) for example in islice(EMBEDDED.examples("solve", seed), 20)] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("stage", TWIN_STAGES)
def test_the_twin_answers_at_once_unless_it_is_told_to_write_a_solution(stage: str) -> None:
    found = Counter[str]()
    for example in islice(DRAFT.examples(stage, 0), 300):
        tokens, start = list(example.tokens), example.learned[0][0]
        asked, answered = DRAFT.decode(tokens[:start]), DRAFT.decode(tokens[start:-1])
        told = any(wording in asked for wording in PARAPHRASES["solve"])
        at_once = answered.removeprefix("\\boxed{").removesuffix("}").isdigit() or "[[ ## answer ## ]]" in answered
        assert told != at_once
        found["planner" if answered.isdigit() else "at once" if at_once else "lines"] += 1
    assert all(abs(found[kind] / 300 - share) < 0.1 for kind, share in TWIN_STAGES[stage].items())


def test_half_of_the_first_solutions_name_their_operands() -> None:
    named = 0
    for example in islice(EMBEDDED.examples("grow", 1), 200):
        solution = EMBEDDED.decode(example.tokens).rpartition("<|im_start|>assistant\n")[2]
        named += bool(re.search(r"^[a-z]+ [a-z]+ = [a-z]+ [a-z]+ [-+*/] ", solution, re.MULTILINE))
    assert 60 < named < 110  # some solutions are a given quantity alone


def test_unknown_stages_are_refused() -> None:
    with pytest.raises(InputError, match="grow, solve, refine, at once, draft"):
        next(EMBEDDED.examples("solves", 0))


def test_it_travels_into_other_processes() -> None:
    assert pickle.loads(pickle.dumps(EMBEDDED)) == EMBEDDED


def test_drafts_of_its_own_are_what_it_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no drafts"):
        next(EMBEDDED.examples("refine", 0, tmp_path))
    source = parse_source("graphmath:mid,split=train,seed=9")
    rows = []
    for index in range(12):
        found = item(source, index)
        marked = [f"{found.solution(Random(n))}\nmark {index}" for n in range(4)]
        rows.append(json.dumps({"address": found.address, "drafts": marked}))
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    texts = [EMBEDDED.decode(example.tokens) for example in islice(EMBEDDED.examples("refine", 0, tmp_path), 150)]
    assert sum("mark " in text for text in texts) > 10
    about = EMBEDDED.about(tmp_path)
    assert about["all_right"] == 1.0
    assert about["sets"] == 6  # easy ones are dropped down to half


def test_questions_are_plain_prompts() -> None:
    found = list(EMBEDDED.questions("drafts-1", 0, 5))
    assert len({question.address for question, _ in found}) == 5
    assert all(times == 8 for _, times in found)
    assert EMBEDDED.decode(found[0][0].tokens).endswith("<|im_start|>assistant\n")
