"""DSPy's optimizers improve a program: here by demonstrations of its own reasoning."""

import re

import dspy

import reasonflow as rf


def pupil(prompt: str, seed: int | None, index: int) -> str:
    """Adds small numbers; large ones only after it has seen an example."""
    asked = re.findall(r"(\d+) \+ (\d+)\?", prompt)
    one, other = map(int, asked[-1])
    total = one + other
    carried = total if total < 10 or len(set(asked)) > 1 else total - 10
    return f"Adding {one} to {other}.\n\\boxed{{{carried}}}"


# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=0.8)
lm = rf.scripted(pupil)
dspy.configure(lm=lm)


def sums(*pairs: tuple[int, int]) -> list[dspy.Example]:
    return [dspy.Example(problem=f"{a} + {b}?", answer=str(a + b)).with_inputs("problem") for a, b in pairs]


trainset, devset = sums((1, 2), (3, 4), (2, 2)), sums((8, 5), (2, 6), (9, 9), (7, 6))
program = rf.SelfConsistency("problem -> answer", n=4)
evaluate = dspy.Evaluate(devset=devset, metric=rf.math_equal, num_threads=4)
print("before:", evaluate(program).score)  # -> before: 25.0

# MIPROv2, GEPA, SIMBA and BootstrapFewShotWithRandomSearch take a program in the same way.
optimizer = dspy.BootstrapFewShot(metric=rf.math_equal, max_bootstrapped_demos=2, max_labeled_demos=0)
taught = optimizer.compile(program, trainset=trainset)
print("after:", evaluate(taught).score)  # -> after: 100.0
print("it shows:", taught.solve.demos[0].reasoning)  # -> it shows: Adding 1 to 2.
