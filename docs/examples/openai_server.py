"""A program on a server that already runs, with its address and the name of its model as arguments.

Start one, for instance `python -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-0.6B`, then
`python docs/examples/openai_server.py http://localhost:8000/v1 Qwen/Qwen3-0.6B`.
"""

import sys

import dspy

import reasonflow as rf

if len(sys.argv) != 3:
    sys.exit("usage: python docs/examples/openai_server.py BASE_URL MODEL")
base_url, model = sys.argv[1:]

# A server that wants a key: api_key_env="OPENAI_API_KEY". Several processes on one server: limit=32 in each of them.
lm = rf.openai(model, base_url=base_url, temperature=0.7, max_tokens=1024)


class Vote(rf.Program):
    """Four samples in one request; once the rest cannot change which answer wins, the server drops it."""

    def __init__(self) -> None:
        self.solve = rf.Generate("problem -> answer")

    def plan(self, problem):
        return rf.answer(rf.quorum(self.solve(problem=problem, n=4), by="answer"))


with dspy.context(lm=lm):
    out = Vote()(problem="How many primes are below 100?")
print(out.answer)
print(out.run.explain())
lm.engine.close()
