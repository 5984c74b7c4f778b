"""PDR's four distillers: what passes from one round to the next, and what it costs."""

import dspy

import reasonflow as rf


def answers(prompt, seed, index):
    """Drafts, notes about them, or the numbers of the best two, whatever is asked for."""
    if "name the best" in prompt:
        return "2, 1"
    if "Write notes" in prompt:
        return "All drafts agree that 2 and 5 are prime."
    return r"I count them one by one. \boxed{25}"


# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=1.0)
lm = rf.scripted(answers)

with dspy.context(lm=lm):
    for distiller in ("summary", "top_k", "per_sample", "random_k"):
        pdr = rf.PDR("problem -> answer", widths=(16, 8, 4), distiller=distiller)
        out = pdr(problem="How many primes are below 100?")
        print(distiller, out.answer, out.run.usage.calls, len(out.run.critical_path))
        # -> summary 25 32 7
        # -> top_k 25 32 7
        # -> per_sample 25 42 7
        # -> random_k 25 29 4
