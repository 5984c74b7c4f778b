"""ReasonFlow: declarative programs for parallel reasoning, run on a local vLLM engine that shares their prefixes."""

# The order matters: the programs are written with the names above them.
from reasonflow.backends.bridge import openai, scripted, vllm
from reasonflow.backends.dspy_lm_engines import hosted
from reasonflow.errors import ReasonFlowError
from reasonflow.gates.gate import Gate
from reasonflow.language.artifact import load
from reasonflow.language.call_sites import Generate
from reasonflow.language.choices import Choice, Range
from reasonflow.language.combinators import (
    answer,
    call,
    each,
    fork,
    loop,
    quorum,
    race,
    select,
    vote,
    when,
    within,
)
from reasonflow.language.continuations import Continue
from reasonflow.language.program import Program
from reasonflow.plan.budget import Budget
from reasonflow.runtime import events
from reasonflow.runtime.ledger import limit
from reasonflow.runtime.live_view import show
from reasonflow.runtime.notes import note

# isort: split
from reasonflow.evals.evaluate import evaluate
from reasonflow.evals.metrics import math_equal
from reasonflow.evals.transfer.running import transfer
from reasonflow.optimizers.compiling import compile
from reasonflow.optimizers.prompting.feedback import BranchFeedback
from reasonflow.programs.async_scaling import AsyncScaling
from reasonflow.programs.best_of_n import BestOfN
from reasonflow.programs.chain_of_thought import ChainOfThought
from reasonflow.programs.confident_vote import ConfidentVote
from reasonflow.programs.hybrid_search import HybridSearch
from reasonflow.programs.pdr import PDR
from reasonflow.programs.planned_search import PlannedSearch
from reasonflow.programs.reward_model import RewardModel
from reasonflow.programs.rsa import RSA
from reasonflow.programs.self_consistency import SelfConsistency
from reasonflow.programs.sequential_refine import SequentialRefine
from reasonflow.programs.speculative import SpeculativePlanner
from reasonflow.programs.threads import ThreadWeaver
from reasonflow.programs.verifiers import YesProbability

__version__ = "0.1.0"
__all__ = [
    "PDR",
    "RSA",
    "AsyncScaling",
    "BestOfN",
    "BranchFeedback",
    "Budget",
    "ChainOfThought",
    "Choice",
    "ConfidentVote",
    "Continue",
    "Gate",
    "Generate",
    "HybridSearch",
    "PlannedSearch",
    "Program",
    "Range",
    "ReasonFlowError",
    "RewardModel",
    "SelfConsistency",
    "SequentialRefine",
    "SpeculativePlanner",
    "ThreadWeaver",
    "YesProbability",
    "answer",
    "call",
    "compile",
    "each",
    "evaluate",
    "events",
    "fork",
    "hosted",
    "limit",
    "load",
    "loop",
    "math_equal",
    "note",
    "openai",
    "quorum",
    "race",
    "scripted",
    "select",
    "show",
    "transfer",
    "vllm",
    "vote",
    "when",
    "within",
]
