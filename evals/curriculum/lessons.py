"""One training example for each role: the messages as a run would render them, and what the model should answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from reasonflow.backends.protocol import Message
from reasonflow.evals.curriculum.draft_sets import best_numbers
from reasonflow.evals.curriculum.instructions import DEMANDS, PARAPHRASES, Behaviour, Role
from reasonflow.evals.curriculum.mistakes import cut
from reasonflow.evals.curriculum.notes import LONGEST, notes, read_notes
from reasonflow.evals.curriculum.refined import improved, misled, refined
from reasonflow.evals.curriculum.roles import MOST_GRADED, Form, fields_answer, style_of, template, template_with
from reasonflow.evals.curriculum.solving import Piece, in_threads, solved
from reasonflow.evals.curriculum.tally import established
from reasonflow.evals.tasks.chance import between, pick
from reasonflow.evals.tasks.grading import grade
from reasonflow.evals.tasks.graph import Graph
from reasonflow.evals.tasks.problems import Item
from reasonflow.evals.tasks.reading import final_answer
from reasonflow.evals.tasks.solutions import direct
from reasonflow.prompts.styles import REASONING
from reasonflow.prompts.values import Demo

_OWN = 0.5
"""Share of prompts that have the call site's own instruction; the others have a paraphrase."""
_DSPY = 0.15
_DSPY_THREADS = 0.5
"""Of threaded lessons: the layout "auto" is DSPy's where a prompt is short, as a problem alone is."""
_FIELDS = 0.1
_DEMOS = ((0.85, 0), (0.95, 1), (1.0, 2))
"""Cumulative shares of prompts with so many demonstrations."""
_FORGOTTEN = 0.1
"""Share of workspaces that lack some of their entries: a distiller is not perfect either."""
_WORKSPACE = LONGEST - 16
"""Tokens of a workspace, with room for the model to end its turn."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A prompt and its completion, the end of the turn not included."""

    messages: tuple[Message, ...]
    completion: tuple[Piece, ...]


class Teacher:
    """Makes lessons out of problems and drafts; equal for an equal state of `random`."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def solve(self, item: Item, shown: Sequence[Item] = ()) -> Lesson:
        """A solution in one of the behaviours. shown: other problems, for demonstrations."""
        graph = isinstance(item.content, Graph)
        draw = self.random.random()
        behaviour: Behaviour = ""
        if graph and draw < 0.24:
            behaviour = "short" if draw < 0.08 else "careful" if draw < 0.16 else "check"
        demos = [self._demo(other, behaviour) for other in shown]
        form = self._form("solve") if not behaviour or behaviour == "careful" else self._layout()
        pieces = solved(item, behaviour, self.random)
        return self._told("solve", {"problem": item.text}, pieces, form, item.answer, behaviour, demos)

    def solve_plainly(self, item: Item, behaviour: Behaviour = "") -> Lesson:
        """A solution as most prompts ask for it: free form, no demonstrations; no demands but that behaviour."""
        pieces = solved(item, behaviour, self.random)
        return self._told("solve", {"problem": item.text}, pieces, self._layout(), item.answer, behaviour)

    def drafted(self, item: Item, behaviour: Behaviour = "") -> Lesson:
        """A solution of a model that answers at once where it is not told to write one."""
        wording = pick(self.random, PARAPHRASES["solve"])
        pieces = solved(item, behaviour, self.random)
        return self._told(
            "solve", {"problem": item.text}, pieces, self._layout(0.5), item.answer, behaviour, wording=wording
        )

    def thread(self, item: Item) -> Lesson:
        """The threaded form. Raises InputError where threads do not pay."""
        assert isinstance(item.content, Graph)
        wording = pick(self.random, PARAPHRASES["thread"])
        return self._lesson(
            "thread",
            {"problem": item.text},
            in_threads(item.content, self.random),
            wording=wording,
            form=self._layout(_DSPY_THREADS),
        )

    def direct(self, item: Item, *, asked: bool = True) -> Lesson:
        """The answer at once. asked: with an instruction to do so; the twin answers so without any."""
        wording = pick(self.random, PARAPHRASES["direct"]) if asked else ""
        pieces = [Piece(direct(item.answer))]
        role: Role = "direct" if asked else "solve"
        return self._told(role, {"problem": item.text}, pieces, self._form("solve"), item.answer, wording=wording)

    def distill(self, item: Item, drafts: Sequence[str]) -> Lesson:
        """Notes about drafts."""
        assert isinstance(item.content, Graph)
        answer = notes(item.content, drafts, longest=_WORKSPACE)
        return self._lesson("distill", {"problem": item.text, "drafts": list(drafts)}, answer)

    def refine(self, item: Item, drafts: Sequence[str]) -> Lesson:
        """A solution out of a workspace: notes, or some of the drafts themselves where notes would mislead."""
        assert isinstance(item.content, Graph)
        graph = item.content
        if self.random.random() < 0.85 and not misled(graph, established(drafts, graph.asked)):
            noted = notes(graph, drafts, longest=_WORKSPACE)
            if self.random.random() < _FORGOTTEN:
                noted = "\n".join(line for line in noted.split("\n") if self.random.random() < 0.8)
            return self._finished("refine", item, {"workspace": noted}, refined(graph, read_notes(noted)))
        workspace = list(drafts[: between(self.random, 1, min(MOST_GRADED, len(drafts)))])
        answer = refined(graph, established(workspace, graph.asked), self.random)
        return self._finished("refine", item, {"workspace": workspace}, answer)

    def improve(self, item: Item, attempt: str) -> Lesson:
        """A better solution out of a single attempt."""
        assert isinstance(item.content, Graph)
        return self._finished("improve", item, {"solution": attempt}, improved(item.content, attempt, self.random))

    def aggregate(self, item: Item, candidates: Sequence[str]) -> Lesson:
        """One solution out of several."""
        assert isinstance(item.content, Graph)
        answer = refined(item.content, established(candidates, item.content.asked), self.random)
        return self._finished("aggregate", item, {"candidates": list(candidates)}, answer)

    def grade(self, item: Item, drafts: Sequence[str]) -> Lesson:
        """The numbers of the best drafts."""
        best = between(self.random, 1, min(MOST_GRADED, len(drafts)))
        answer = best_numbers(item, drafts, best)
        inputs = {"problem": item.text, "drafts": list(drafts)}
        return self._lesson("grade", inputs, answer, best=best, wording=None)

    def verdict(self, item: Item, candidate: str) -> Lesson:
        """Yes or No: whether a candidate's final answer is right; behind a No the first quantity that goes wrong."""
        answer = "Yes"
        if final_answer(candidate) != item.answer:
            findings = grade(item.content, candidate).findings
            wrong = next((f": {finding.statement.name}" for finding in findings if finding.fault), "")
            answer = f"No{wrong}"
        return self._lesson("verdict", {"problem": item.text, "candidate": candidate}, answer)

    def _finished(self, role: Role, item: Item, inputs: Mapping[str, Any], answer: str) -> Lesson:
        every = {"problem": item.text, **inputs}
        return self._told(role, every, [Piece(answer)], self._form(role), item.answer)

    def _lesson(
        self,
        role: Role,
        inputs: Mapping[str, Any],
        answer: str,
        *,
        best: int = 2,
        form: Form | None = None,
        **more: Any,
    ) -> Lesson:
        wording = more["wording"] if "wording" in more else self._wording(role)
        made = template(role, wording, "", form or self._layout(), best)
        return Lesson(made.messages(inputs), (Piece(answer),))

    def _told(
        self,
        role: Role,
        inputs: Mapping[str, Any],
        pieces: Sequence[Piece],
        form: Form,
        answer: int,
        behaviour: Behaviour = "",
        demos: Sequence[Demo] = (),
        wording: str | None = None,
    ) -> Lesson:
        wording = wording if wording is not None else self._wording(role)
        demand = pick(self.random, DEMANDS[behaviour])
        if form == "fields":
            pieces = [Piece(fields_answer(role, "".join(piece.text for piece in pieces), str(answer)))]
        made = template_with(role, wording, demand, form, demos) if demos else template(role, wording, demand, form)
        return Lesson(made.messages(inputs), tuple(pieces))

    def _demo(self, item: Item, behaviour: Behaviour) -> Demo:
        solution = "".join(piece.text for piece in solved(item, behaviour, self.random))
        return {"problem": item.text, REASONING: solution, "answer": str(item.answer)}

    def _wording(self, role: Role) -> str | None:
        return None if self.random.random() < _OWN else pick(self.random, PARAPHRASES[role])

    def _layout(self, dspy: float = _DSPY) -> Form:
        return "dspy" if self.random.random() < dspy else "shared"

    def _form(self, role: Role) -> Form:
        return "fields" if style_of(role) == "boxed" and self.random.random() < _FIELDS else self._layout()

    def demos(self) -> int:
        """How many demonstrations the next prompt has."""
        draw = self.random.random()
        return next(count for share, count in _DEMOS if draw < share)


def cut_alike(drafts: Sequence[str], least: int, greatest: int, random: Random) -> list[str]:
    """Drafts of one cap, as a call's limit cuts them."""
    cap = between(random, least, greatest)
    return [cut(draft, cap) for draft in drafts]
