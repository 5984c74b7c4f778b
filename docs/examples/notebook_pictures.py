"""What a notebook shows of a run, as a page: `python docs/examples/notebook_pictures.py run.html`."""

import sys
from pathlib import Path

import dspy

import reasonflow as rf


class Agreed(rf.Program):
    """Drafts until a majority stands, a review of its draft, then refinements that vote."""

    def __init__(self):
        self.draft = rf.Generate("problem -> answer")
        self.review = rf.Generate("problem, draft -> review", style="text")
        self.refine = rf.Generate("problem, review -> answer: int", style="fields")

    def plan(self, problem):
        draft = rf.answer(rf.quorum(self.draft(problem=problem, n=16), by="answer"))
        review = self.review(problem=problem, draft=draft.text)
        return rf.answer(rf.vote(self.refine(problem=problem, review=review.text, n=4), by="answer"))


def script(prompt, seed, index):
    """A draft, a review, or a refinement, of which the third forgets its format."""
    words = "so " * (20 + 7 * index)
    if "[[ ##" not in prompt:
        return rf"{words} \boxed{{25}}"
    return words if index == 2 else "[[ ## answer ## ]]\n25\n\n[[ ## completed ## ]]"


if __name__ == "__main__":
    slow = rf.scripted(script, latency=lambda request, index: 0.2 + 0.07 * (5 * index % 16), max_running=12)
    with dspy.context(lm=slow):
        run = Agreed()(problem="How many primes are below 100?").run
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "run.html")
    page.write_text(f"<!doctype html><meta charset='utf-8'>{run._repr_html_()}", encoding="utf-8")
    print(run.waterfall())
