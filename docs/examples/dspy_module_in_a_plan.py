"""A DSPy agent as one step of a plan: its calls run on the run's engine, in its record, within its budget."""

import dspy

import reasonflow as rf


def multiply(a: int, b: int) -> int:
    """The product of two whole numbers."""
    return a * b


class Checked(rf.Program):
    def __init__(self):
        self.agent = dspy.ReAct("problem -> answer", tools=[multiply], max_iters=3)
        self.check = rf.Generate("problem, proposal -> answer")

    def plan(self, problem):
        found = rf.call(self.agent, problem=problem, cap=5)  # at most five model calls: bounds and budgets rest on it
        return rf.answer(self.check(problem=problem, proposal=found.answer))


def reply(prompt, seed, index):
    """What a model would write."""
    if "next_tool_name" in prompt:
        tool, arguments = ("finish", "{}") if "observation" in prompt.lower() else ("multiply", '{"a": 6, "b": 7}')
        fields = {"next_thought": "Multiply.", "next_tool_name": tool, "next_tool_args": arguments}
        return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in fields.items())
    if "[[ ## answer ## ]]" in prompt:
        return "[[ ## reasoning ## ]]\nThe tool says so.\n\n[[ ## answer ## ]]\n42"
    return "It is right. \\boxed{42}"


dspy.configure(lm=rf.scripted(reply))  # a real model: rf.vllm("Qwen/Qwen3-8B")
program = Checked()
program.budget = rf.Budget(total=20_000)
out = program(problem="What is 6 times 7?")
print(out.answer, out.run)
print(out.run.explain())
