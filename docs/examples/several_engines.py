"""Several engines in one run: a small model drafts, a larger one decides. Each call site asks its own."""

import dspy

import reasonflow as rf


class DraftAndDecide(rf.Program):
    def __init__(self):
        self.draft = rf.Generate("problem -> answer")
        self.target = rf.Generate("problem, drafts: list[str] -> answer")

    def plan(self, problem):
        drafts = self.draft(problem=problem, n=4)
        rf.answer(rf.vote(drafts, by="answer"))  # what a run that is cut short may give
        return rf.answer(self.target(problem=problem, drafts=drafts))


# Real ones share the GPU: rf.vllm("Qwen/Qwen3-0.6B", gpu_memory_utilization=0.2), and 0.7 for the larger; or one of
# them runs elsewhere: rf.openai("Qwen/Qwen3-32B", base_url="http://gpu-server:8000/v1").
small = rf.scripted(["Perhaps \\boxed{41}", "So \\boxed{42}"], model="small")
large = rf.scripted("The drafts disagree; checked, it is \\boxed{42}", model="large")

program = DraftAndDecide()
program.target.lm = large
with dspy.context(lm=small):
    print(program.explain())
    out = program(problem="What is 6 times 7?")
print(out.answer, out.run)
print("drafts by", out.run.fingerprint["model"], "- decided by", out.run.engines["target"]["model"])
