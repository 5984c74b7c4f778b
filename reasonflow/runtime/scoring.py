"""Log-probabilities of given text, from inside a run's function: recorded and paid for as its model calls are."""

from __future__ import annotations

from functools import partial

import dspy

from reasonflow.backends.protocol import Tokens
from reasonflow.runtime.ambient import ambient
from reasonflow.runtime.aside import Aside
from reasonflow.runtime.calls import runtime_of


async def score(lm: dspy.BaseLM | None, site: str, prompt: Tokens, continuation: Tokens) -> tuple[float, ...]:
    """Of each token of `continuation` behind `prompt`: (len(continuation),), natural log.

    Inside of `rf.call(..., cap=...)` it is one of the calls that the function has declared: its tokens are input tokens
    of the run, none of them cached, since engines do not look for them in their prefix cache. site: whose language
    model it is, for the error where there is none. Raises BackendError, RunError for more calls than declared,
    BudgetExceeded.
    """
    runtime, inside = runtime_of(lm, site), ambient().inside
    if inside is None:
        return await runtime.arun(partial(runtime.backend.score, prompt, continuation))
    function = inside.function if isinstance(inside, Aside) else inside
    return await function.home.arun(partial(function.score, runtime, prompt, continuation))
