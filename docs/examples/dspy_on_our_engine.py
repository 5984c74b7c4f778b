"""A DSPy program unchanged on a ReasonFlow engine: threads, streaming, samples, usage. One line differs."""

import asyncio

import dspy

import reasonflow as rf

FIELDS = "[[ ## reasoning ## ]]\nIt is well known.\n\n[[ ## answer ## ]]\nParis is the capital\n\n[[ ## completed ## ]]"

dspy.configure(lm=rf.scripted(FIELDS))  # a real model: rf.vllm("Qwen/Qwen3-8B")

question = dspy.ChainOfThought("question -> answer")
print(question(question="The capital of France?").answer)

examples = [dspy.Example(question=f"Question {i}?", answer="Paris").with_inputs("question") for i in range(8)]
judge = dspy.Evaluate(devset=examples, metric=lambda example, found, trace=None: example.answer in found.answer)
print("score:", judge(question, num_threads=4).score)


async def stream():
    listener = dspy.streaming.StreamListener(signature_field_name="answer")
    async for chunk in dspy.streamify(question, stream_listeners=[listener])(question="The capital of France?"):
        if isinstance(chunk, dspy.streaming.StreamResponse):
            print("token:", chunk.chunk)


asyncio.run(stream())

# Engines that can (rf.vllm, rf.openai) also take logprobs=True, response_format= and tools=, as DSPy passes them on:
print(sorted(dspy.settings.lm.supported_params))
