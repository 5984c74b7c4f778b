"""Sequential refinement, plain and with an error analysis between the rounds."""

import dspy

import reasonflow as rf


def replies(prompt, seed, index):
    """A first slip, the flaw that an analysis finds, and the solution that reads it."""
    if "List its flaws" in prompt:
        return "It counts 1 as a prime."
    if "counts 1 as a prime" in prompt:
        return r"Without 1 there are \boxed{25}"
    return r"I count them one by one, from 1: \boxed{26}"


# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=1.0)
lm = rf.scripted(replies)

with dspy.context(lm=lm):
    for analyse in (False, True):
        refine = rf.SequentialRefine("problem -> answer", rounds=2, analyse=analyse)
        out = refine(problem="How many primes are below 100?")
        print(out.answer, out.run.usage.calls)
        # -> 26 3
        # -> 25 5
