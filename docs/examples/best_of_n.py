"""Best-of-N: the sample that the model itself most believes in, and the one a rule of your own prefers."""

import dspy

import reasonflow as rf


def answers(prompt, seed, index):
    """Four attempts; asked for a verdict, the model believes most in the one it checked."""
    if "Yes or No" in prompt:
        return {"Yes": 0.9, "No": 0.1} if "divide" in prompt else {"Yes": 0.4, "No": 0.6}
    attempts = [r"24, I think. \boxed{24}", r"I divide and count: \boxed{25}", r"\boxed{25}", r"About \boxed{30}"]
    return attempts[index]


# For a real model this is the one line to change: lm = rf.vllm("Qwen/Qwen3-8B", temperature=0.8)
lm = rf.scripted(answers)

problem = "How many primes are below 100?"


def odd(inputs, candidate):
    return int(candidate.answer) % 2 == 1


with dspy.context(lm=lm):
    judged = rf.BestOfN("problem -> answer", n=4)(problem=problem)
    print(judged.answer)  # -> 25
    print(judged.run.notes[0])  # -> eligible: scores: 0.4, 0.9, 0.4, 0.4

    ruled = rf.BestOfN("problem -> answer", n=4, verifier=odd)(problem=problem)
    print(ruled.answer, ruled.run.usage.calls)  # -> 25 4
