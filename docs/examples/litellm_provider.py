"""A program as a model of LiteLLM: tools that are built on LiteLLM call it by its name.

Run it with `python docs/examples/litellm_provider.py`; it needs no network: the engine's answers are given.
"""

import asyncio

import litellm

import reasonflow as rf
from reasonflow.serve.litellm_provider import register


def answer(prompt: str, seed: int, index: int) -> str:
    return rf"I count them. \boxed{{{24 if index == 0 else 25}}}"


# With a model: lm=rf.vllm("embedded"), or any dspy.LM
register("vote", rf.SelfConsistency("question -> answer", n=8), lm=rf.scripted(answer))
question = [{"role": "user", "content": "How many primes are below 100?"}]

response = litellm.completion(model="reasonflow/vote", messages=question)
print(response.choices[0].message.content, response.usage.total_tokens)
print(response._hidden_params["reasonflow"]["calls"], "calls")


async def several() -> None:
    calls = [litellm.acompletion(model="reasonflow/vote", messages=question) for _ in range(3)]
    print([reply.choices[0].message.content for reply in await asyncio.gather(*calls)])


asyncio.run(several())
