"""Benchmarks of question answering over several documents, by name."""

from __future__ import annotations

from collections.abc import Mapping

from reasonflow.evals.benchmark import Benchmark
from reasonflow.evals.qa import hub
from reasonflow.evals.qa.reading import listed_question_of, question_of

QUESTIONS: Mapping[str, Benchmark] = {
    "hotpotqa": Benchmark(
        repository="hotpotqa/hotpot_qa",
        config="distractor",
        split="validation",
        problem=("question",),
        answer="answer",
        id="id",
        convert=hub.hotpotqa,
        read=question_of,
        licence="CC BY-SA 4.0",
    ),
    "2wiki": Benchmark(
        repository="framolfese/2WikiMultihopQA",  # the authors' own copy is a program, which `datasets` runs no more
        split="validation",
        problem=("question",),
        answer="answer",
        id="id",
        convert=hub.hotpotqa,
        read=question_of,
        licence="Apache-2.0",
    ),
    "musique": Benchmark(
        repository="dgslibisey/MuSiQue",  # of MuSiQue-Ans v1.0, where every question has an answer
        split="validation",
        problem=("question",),
        answer="answer",
        id="id",
        convert=hub.musique,
        read=question_of,
        licence="CC BY 4.0",
    ),
    "fanoutqa": Benchmark(
        repository="zhuexe/fanoutqa",
        split="validation",
        file="fanout-final-dev.json",
        problem=("question",),
        answer="answer",
        id="id",
        convert=hub.fanoutqa,
        read=listed_question_of,
        licence="CC BY-SA 4.0",
    ),
    "frames": Benchmark(
        # Some of its answers are sentences: the field asks a model whether an answer says the same.
        repository="google/frames-benchmark",
        split="test",
        problem=("Prompt",),
        answer="Answer",
        convert=hub.frames,
        read=question_of,
        licence="Apache-2.0",
    ),
    "bamboogle": Benchmark(
        repository="chiayewken/bamboogle",
        split="test",
        problem=("Question",),
        answer="Answer",
        convert=hub.bamboogle,
        read=question_of,
        licence="MIT",
    ),
}
