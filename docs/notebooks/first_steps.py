# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First steps
#
# From one answer to a vote of eight, seen before it runs, while it runs and afterwards. Everything here runs on a
# laptop: the built-in model is tiny and comes with the package. It knows one family of word problems, so the questions
# below are of that kind, and a single answer may be wrong, which is what a vote is for.

# %%
import dspy

import reasonflow as rf

# %% [markdown]
# One cell says which model answers. Put `"Qwen/Qwen3-8B"` or a folder there on a machine with a GPU; nothing starts
# before the first question.

# %% tags=["parameters"]
lm = rf.vllm("embedded", max_tokens=96)

# %%
dspy.configure(lm=lm)
problem = "There are 17 red apples. There are 25 more blue kites than red apples. How many blue kites are there?"
rf.ChainOfThought()(problem=problem).answer


# %% [markdown]
# A program declares its calls in `__init__` and arranges them in `plan`. This one draws eight drafts of one prompt and
# takes the answer that most of them agree on.


# %%
class Majority(rf.Program):
    def __init__(self, n=8):
        self.solve = rf.Generate("problem -> answer")
        self.n = n

    def plan(self, problem):
        drafts = self.solve(problem=problem, n=self.n)
        return rf.answer(rf.vote(drafts, by="answer"))


majority = Majority()
majority.explain()  # before a token is spent: the calls, what their prompts share, and the worst case

# %%
out = majority(problem=problem)
print(out.answer)
out.run  # afterwards: what each step took, and below it when; the folded row opens

# %% [markdown]
# A run that is streamed can be watched. In a notebook `rf.show` is awaited; interrupting the cell cancels the run.

# %% tags=["active-ipynb"]
# out = await rf.show(majority.stream(problem=problem))
# print(out.answer)

# %% [markdown]
# A budget is kept, not watched: every call reserves what it may take before it is sent. With three calls for eight
# drafts the vote is held among three.

# %%
majority.budget = rf.Budget(calls=3)
out = majority(problem=problem)
print(out.answer, "by a vote of", out.run.usage.calls, "- squeezed:", out.run.squeezed)
print(out.run.waterfall())
