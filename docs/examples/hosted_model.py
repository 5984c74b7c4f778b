"""A program on a language model that is not ours: `dspy.LM("openai/gpt-4o-mini")`, or here DSPy's own stand-in.

Run it with `python docs/examples/hosted_model.py`; it needs no network.
"""

import dspy
from dspy.utils.dummies import DummyLM

import reasonflow as rf

# With a key at hand: lm = dspy.LM("openai/gpt-4o-mini", temperature=1.0, max_tokens=512)
lm = DummyLM([{"reasoning": "I count them.", "answer": answer} for answer in ("25", "24", "25")])
dspy.configure(lm=rf.hosted(lm, max_running=8))  # 16 calls at once where nothing is said


class Vote(rf.Program):
    """Three samples, and the answer most of them give."""

    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> reasoning, answer", style="fields", temperature=1.0)

    def plan(self, problem):
        return rf.vote(self.solve(problem=problem, n=3), by="answer")


vote = Vote()
print(vote.explain())  # its last line says what such an engine lacks
out = vote(problem="How many primes are below 100?")
print(out.answer)
print(out.run.usage)
print(out.run.fingerprint)  # here the counts are estimated: a stand-in reports none
