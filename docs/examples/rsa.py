"""Recursive Self-Aggregation: a population in which right steps spread, without a judge."""

import dspy

import reasonflow as rf


def answers(prompt, seed, index):
    """One attempt in four is right; whoever reads a right one takes it over."""
    if "earlier attempts" in prompt:
        return r"The second way holds. \boxed{25}" if r"\boxed{25}" in prompt else r"None holds. \boxed{24}"
    return r"\boxed{25}" if index % 4 == 0 else r"\boxed{24}"


# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=1.0)
lm = rf.scripted(answers)

problem = "How many primes are below 100?"

with dspy.context(lm=lm):
    print(rf.SelfConsistency(n=8)(problem=problem).answer)  # -> 24
    rsa = rf.RSA("problem -> answer", n=8, k=3, rounds=2)
    print(rsa.explain().bound.calls)  # -> 24
    print(rsa(problem=problem).answer)  # -> 25
