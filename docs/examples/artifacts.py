"""A program is saved with what it learnt, and made again from the file alone."""

import tempfile
from pathlib import Path

import dspy

import reasonflow as rf

# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=0.8)
lm = rf.scripted(r"Counting them gives \boxed{25}.")
dspy.configure(lm=lm)


class Checked(rf.Program):
    """Samples, a vote, and one call that checks the winner."""

    def __init__(self, signature: str, n: int = 4) -> None:
        self.solve = rf.Generate(signature)
        self.check = rf.Generate("problem, draft -> answer")
        self.n = rf.Choice(n, options=[2, 4, 8])

    def plan(self, problem: object) -> object:
        best = rf.vote(self.solve(problem=problem, n=self.n), by="answer")
        return rf.answer(self.check(problem=problem, draft=best.text))


program = Checked("problem -> answer", n=2)
program.n.set(8)
program.solve.demos = [dspy.Example(problem="Primes below 10?", reasoning="2, 3, 5, 7.", answer="4")]

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "checked.json"
    program.save(path)  # readable JSON: no language model, no engine, no key, nothing pickled
    try:
        rf.load(path)
    except rf.ReasonFlowError as error:
        print(error.what)  # a file names only classes that you allow
    again = rf.load(path, allow=[Checked])

out = again(problem="How many primes are below 100?")
print(out.answer, out.run.usage.calls)  # -> 25 9
print(again.solve.demos[0]["reasoning"])  # -> 2, 3, 5, 7.
