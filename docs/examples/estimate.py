"""What a program will take over a set of problems: before anything runs, after a run of one of them, and in the end."""

import random

import dspy

import reasonflow as rf


def answer(prompt: str, seed: int | None, index: int) -> str:
    """A model that thinks for a while, now longer and now shorter."""
    thoughts = random.Random(f"{prompt} {seed}").randrange(5, 60)
    return "and then " * thoughts + r"\boxed{25}"


dspy.configure(lm=rf.scripted(answer, temperature=0.7, max_tokens=256, latency=0.01))
program = rf.SelfConsistency("problem -> answer", n=8)
problems = [{"problem": f"How many primes are below {bound}?"} for bound in (100, 200, 500, 1_000)]

before = program.estimate(problems)
print(before)  # the ends are certain; nothing says what is likely

first = program(**problems[0])
after = program.estimate(problems, history=[first.run])
print(after)

runs = [program(**problem).run for problem in problems]
written = sum(run.usage.output_tokens for run in runs)
predicted = after.output_tokens.likely
print(f"output tokens: {predicted:,.0f} predicted, {written:,} written: off by {predicted / written - 1:+.1%}")
