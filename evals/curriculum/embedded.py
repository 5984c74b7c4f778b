"""What the embedded model and its twin are trained on, as the trainer asks for it: shares, streams, token ids."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Literal

from reasonflow.backends.embedded import folder_of
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.protocol import Message
from reasonflow.errors import InputError
from reasonflow.evals.curriculum.draft_sets import DraftSet, choose, shares, sub_set
from reasonflow.evals.curriculum.lessons import Lesson, Teacher, cut_alike
from reasonflow.evals.curriculum.mistakes import cut, mistaken
from reasonflow.evals.curriculum.notes import notes, read_notes
from reasonflow.evals.curriculum.planner_prompts import planner_prompt
from reasonflow.evals.curriculum.refined import improved, refined
from reasonflow.evals.curriculum.solving import Piece
from reasonflow.evals.curriculum.vocabulary import END, END_OF_TURN, SIZE
from reasonflow.evals.tasks.chance import between, pick
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import Item, Source, item, item_at, parse_source
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import threads_pay
from reasonflow.optimizers.training.examples import Encoded, Question
from reasonflow.optimizers.trie_sft.units import Unit

LEXICONS = {"market": 0.8, "harbour": 0.1, "syllables": 0.1}
_ANY = "mid,width=1..10,depth=1..8,distractors=0..8,words=24..64"
_NOISE, _MANY = "noise,distractors=2..8", "breadth,width=6..10,distractors=0..8"
_DEEPER, _LENGTH = "breadth,width=8..10,depth=3..4,distractors=0..2", "length,depth=7..12"
SOLVED = {
    "direct": 0.05, "easy": 0.05, "mid": 0.22, "hard": 0.12, _NOISE: 0.16, _MANY: 0.14, _DEEPER: 0.04, _LENGTH: 0.08,
    "threads": 0.04, _ANY: 0.1,
}  # fmt: skip
"""Share of each mix among the problems that are solved in one go."""
DRAFTED = {"easy": 0.05, "mid": 0.2, _NOISE: 0.2, "hard": 0.1, _MANY: 0.22, _DEEPER: 0.08, _LENGTH: 0.15}
"""The same among problems with drafts."""
HARDER = {"mid": 0.08, _NOISE: 0.2, "hard": 0.18, _MANY: 0.26, _DEEPER: 0.16, _LENGTH: 0.12}
"""The same among the problems for which the model writes drafts of its own: those it does not always get right."""

SOLVING = {"solve": 0.6, "constraints": 0.08, "thread": 0.09, "direct": 0.02}
READING = {"distill": 0.3, "refine": 0.3, "improve": 0.1, "aggregate": 0.06, "verdict": 0.2, "grade": 0.04}
STAGES: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
    # Shares of kinds made of problems alone, and of kinds that read drafts.
    "solve": (SOLVING, {kind: 0.3 * share for kind, share in READING.items()}),
    "refine": ({kind: 0.45 * share for kind, share in SOLVING.items()}, {k: 0.65 * s for k, s in READING.items()}),
}
PLAIN: Mapping[str, Mapping[str, float]] = {"grow": {"direct": 0.2, "easy": 0.3, "mid": 0.5}}
"""Shares of mixes in the stage of plain solving that comes first: which name belongs to which sentence is learned on
short problems, and hardly ever on long ones alone."""
_CAREFUL = 0.5
"""Share of solutions in `PLAIN` whose lines name their operands before they state their values. A plain line takes two
lookups at once: which quantities, and which values they have. Written one after the other they are learned sooner: the
loss on plain solutions was 0.10 after 56 million tokens, and 0.25 without them, on its plateau."""
AT_ONCE = {
    "direct": 0.15, "direct,width=1,depth=2..3": 0.25, "direct,width=2,depth=1..2": 0.15,
    "direct,width=1,depth=2..3,distractors=1..4": 0.35, "direct,width=2,depth=1..2,distractors=1..3": 0.1,
}  # fmt: skip
"""Shares of mixes that the twin answers at once. In two of three problems of `direct` the answer is a number that
stands in the text. Without distractors in its lessons it was right in 25 % of one-step problems that have some."""
DRAFTING = {"direct": 0.1, "easy": 0.35, "mid": 0.55}
"""The same for solutions that it writes line by line, where it is told to."""
TWIN_STAGES: Mapping[str, Mapping[str, float]] = {
    "at once": {"at once": 0.5, "planner": 0.5},
    "draft": {"lines": 0.4, "at once": 0.25, "planner": 0.35},
}
"""Shares of the twin's lessons: solutions, answers at once, and those under SpeculativePlanner's own prompt. To look a
value up without naming it takes longest to learn: 600 million tokens of `draft` that followed `grow` taught solutions
(a loss of 0.017 a token) and hardly that (24 to 37 % of the lessons), and 300 million of answers at once alone did."""
_OWN = 0.65
"""Share of examples that read the model's own drafts, where there are some; the others are of problems that it has not
seen, so that it cannot know answers by heart."""
_OWN_JUDGED = 0.1
"""The same for verdicts. 150 million tokens of them, all about the drafts of 400 problems, were learned by heart: loss
0.016, new drafts told apart with an area under ROC of 0.74 in `mid`; 130 million about drafts with mistakes that nobody
made, each of another problem, gave 0.90 there, on the same 320 drafts."""
_TOGETHER = 600
"""Draft sets that are chosen among at a time."""
_CAPPED = 0.3
"""Share of draft sets whose drafts were cut by their cap; of `length` it is nearly all."""


@dataclass(frozen=True, slots=True)
class Reasoner:
    """A `Curriculum`."""

    model: Literal["embedded", "embedded-draft"] = "embedded"

    vocabulary = SIZE

    @property
    def folder(self) -> Path:
        """Where the tokenizer's files are."""
        return folder_of(self.model)

    @property
    def stop(self) -> tuple[int, ...]:
        """The ids that end a turn."""
        return (_tokenizer(self.model).encode(END_OF_TURN)[0], _tokenizer(self.model).encode(END)[0])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens."""
        return _tokenizer(self.model).decode(tokens)

    def examples(self, stage: str, seed: int, drafts: Path | None = None) -> Iterator[Encoded]:
        """Endless examples of a stage; with `drafts`, those that read drafts read the model's own."""
        random = Random(f"{stage}/{seed}")
        for lesson in _lessons(stage, random, seed, drafts):
            yield self.encoded(lesson)

    def questions(self, stage: str, seed: int, count: int) -> Iterator[tuple[Question, int]]:
        """Problems of which the model writes eight solutions each."""
        random = Random(f"questions/{stage}/{seed}")
        draw = Problems(HARDER, random, seed)
        for _ in range(count):
            found = draw()
            lesson = Teacher(random).solve_plainly(found)
            yield Question(found.address, array("H", _tokenizer(self.model).render(lesson.messages))), 8

    def about(self, drafts: Path) -> dict[str, float]:
        """Shares of draft sets without a right draft, and with a wrong plurality, among those trained on."""
        sets = _read(drafts)[: 4 * _TOGETHER]
        return shares(choose(sets, Random(0)))

    def unit(self, messages: Sequence[Message], text: str) -> Unit:
        """A chat and the model's whole turn, the end of it included."""
        tokenizer = _tokenizer(self.model)
        return Unit(tokenizer.render(messages), tokenizer.encode(text) + self.stop[:1])

    def encoded(self, lesson: Lesson) -> Encoded:
        """The lesson as one document of token ids, and where its loss counts."""
        tokenizer = _tokenizer(self.model)
        end = tokenizer.encode(END_OF_TURN)
        ids = list(tokenizer.render(lesson.messages))
        spans: list[tuple[int, int]] = []
        for piece in lesson.completion:
            start = len(ids)
            ids += tokenizer.encode(piece.text)
            if piece.learned:
                spans.append((start, len(ids)))
        ids += end
        spans.append((len(ids) - 1, len(ids)))
        return Encoded(array("H", ids), tuple(spans))


EMBEDDED = Reasoner("embedded")
DRAFT = Reasoner("embedded-draft")


@lru_cache(maxsize=4)
def _tokenizer(model: str) -> HfTokenizer:
    return HfTokenizer(ModelFiles(model))


class Problems:
    """Draws training problems, mixes by their shares."""

    def __init__(self, mixes: Mapping[str, float], random: Random, seed: int, lexicons: Mapping[str, float] = LEXICONS):
        self.random = random
        self.sources: list[tuple[float, Source, Iterator[int]]] = []
        for mix, share in mixes.items():
            for lexicon, part in lexicons.items():
                source = parse_source(f"graphmath:{mix},split=train,lexicon={lexicon},seed={seed}")
                self.sources.append((share * part, source, count()))
        self.shares = [share for share, _, _ in self.sources]

    def __call__(self) -> Item:
        _, source, numbers = self.random.choices(self.sources, self.shares)[0]
        return item(source, next(numbers))


def _lessons(stage: str, random: Random, seed: int, drafts: Path | None) -> Iterator[Lesson]:
    teacher = Teacher(random)
    if stage in TWIN_STAGES:
        yield from _drafting(teacher, random, seed, TWIN_STAGES[stage])
    if stage in PLAIN:
        draw = Problems(PLAIN[stage], random, seed)
        while True:
            yield teacher.solve_plainly(draw(), "careful" if random.random() < _CAREFUL else "")
    if stage not in STAGES:
        known = ", ".join([*PLAIN, *STAGES, *TWIN_STAGES])
        raise InputError(f"the curriculum has no stage {stage!r}", fix=f"one of {known}")
    alone, reading = STAGES[stage]
    plain, threaded = Problems(SOLVED, random, seed), Problems({"threads": 1.0}, random, seed)
    systems = Problems({"constraints": 1.0}, random, seed)
    direct = Problems({"direct": 1.0}, random, seed)
    shown = Problems({"easy": 0.6, "direct": 0.4}, random, seed)
    imagined = _imagined(Problems(DRAFTED, random, seed), random)
    own = _own(_read(drafts), random) if drafts is not None else None
    kinds, weights = [*alone, *reading], [*alone.values(), *reading.values()]
    while True:
        kind = random.choices(kinds, weights)[0]
        if kind == "solve":
            yield teacher.solve(plain(), [shown() for _ in range(teacher.demos())])
        elif kind == "constraints":
            yield teacher.solve(systems())
        elif kind == "thread":
            found = threaded()
            if isinstance(found.content, Graph) and threads_pay(found.content):
                yield teacher.thread(found)
        elif kind == "direct":
            yield teacher.direct(direct())
        else:
            share = _OWN_JUDGED if kind == "verdict" else _OWN
            sets = own if own is not None and random.random() < share else imagined
            yield _about_drafts(kind, *next(sets), teacher)


def _drafting(teacher: Teacher, random: Random, seed: int, kinds: Mapping[str, float]) -> Iterator[Lesson]:
    """The twin's lessons."""
    at_once, lines = Problems(AT_ONCE, random, seed), Problems(DRAFTING, random, seed)
    while True:
        kind = random.choices([*kinds], [*kinds.values()])[0]
        if kind == "lines":
            yield teacher.drafted(lines(), "careful" if random.random() < _CAREFUL else "")
        elif kind == "at once":
            yield teacher.direct(at_once(), asked=random.random() < 0.15)
        else:
            found = at_once()
            yield Lesson(planner_prompt("small", found), (Piece(str(found.answer)),))


def _about_drafts(kind: str, found: Item, drafts: Sequence[str], teacher: Teacher) -> Lesson:
    read: Any = drafts
    if kind == "verdict":  # right and wrong ones alike, where there are both
        right = [draft for draft in drafts if final_answer(draft) == found.answer]
        wrong = [draft for draft in drafts if final_answer(draft) != found.answer]
        read = pick(teacher.random, (right or wrong) if teacher.random.random() < 0.5 else (wrong or right))
    elif kind == "improve":
        read = pick(teacher.random, drafts)
    lesson: Lesson = getattr(teacher, kind)(found, read)
    return lesson


def _imagined(draw: Problems, random: Random) -> Iterator[tuple[Item, list[str]]]:
    """Sets of drafts with mistakes that nobody made: for a model that has none of its own yet."""
    while True:
        found = draw()
        assert isinstance(found.content, Graph)
        lines, rate = len(found.content.needed), pick(random, (0.01, 0.04, 0.1))
        made = []
        for _ in range(between(random, 2, 8)):
            mistakes = sum(random.random() < rate for _ in range(lines))
            made.append(mistaken(found.content, random, mistakes) if mistakes else found.solution(random))
        yield found, _as_cut(found, made, random)


def _own(every: Sequence[DraftSet], random: Random) -> Iterator[tuple[Item, list[str]]]:
    """Sets of the model's own drafts, chosen so that enough of them are hard."""
    while True:
        some = random.sample(every, min(_TOGETHER, len(every)))
        chosen = choose(some, random)
        random.shuffle(chosen)
        for each in chosen:
            found, made = item_at(each.address), list(sub_set(each, random).drafts)
            yield found, _as_cut(found, made, random)


def _as_cut(found: Item, drafts: list[str], random: Random) -> list[str]:
    """The drafts as a cap would have cut them, in some of the sets; and what a second round makes of them."""
    graph = found.content
    assert isinstance(graph, Graph)
    long = ":length" in found.address
    if random.random() > (0.85 if long else _CAPPED):
        return drafts
    lines = 14 * len(graph.needed)
    least, greatest = lines // 5, max(lines // 5, lines * 4 // 5)
    made = cut_alike(drafts, least, greatest, random)
    while long and random.random() < 0.5:  # another round
        known, cap = read_notes(notes(graph, made)), between(random, least, greatest)
        again = improved(graph, made[0], random) if len(made) == 1 else refined(graph, known)
        made = [cut(again, cap)] * len(made)
    return made


def _read(folder: Path) -> list[DraftSet]:
    sets: list[DraftSet] = []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row: dict[str, Any] = json.loads(line)
            sets.append(DraftSet(row["address"], tuple(row["drafts"])))
    if not sets:
        raise InputError(f"{folder} holds no drafts", fix="run the stage that writes them first")
    return sets
