"""The language model that writes an optimizer's instructions, on the compile's budget and in its record.

It is a `dspy.LM` like any other for DSPy; behind it stands an engine that looks each request up in the record, and asks
the real model for what is new.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import dspy
from dspy._vendor.lm15.serde import request_to_dict, response_from_dict, response_to_dict
from dspy.clients.backend_selection import CLIENT_KEYS

from reasonflow.backends.dspy_lm_engines import runtime_behind
from reasonflow.backends.protocol import Completion
from reasonflow.optimizers.prompting.stopped import Stopped
from reasonflow.optimizers.prompting.trials import SPENT, Trials
from reasonflow.optimizers.trial_record import Result
from reasonflow.optimizers.trial_runs import repeats
from reasonflow.runtime.ledger import Amount, Hold
from reasonflow.runtime.price import Price
from reasonflow.runtime.seeds import sample_seed

UNUSABLE = "nothing that the reflecting model wrote could be used"
_EXAMPLE = -1
"""What the record knows these calls by: they are on no example."""
_SHORTEST = 64
"""Tokens that an instruction needs at least."""
_CHARACTERS = 3
"""Of a token, at least, where no tokenizer counts them."""


class CountedEngine:
    """A DSPy engine: every call is found in the record, or made within the budget and kept.

    The same request asked again is another call: it has a place of its own, so that what is found does not depend on
    the session. Raises `Stopped` where the budget has no room.
    """

    def __init__(self, lm: dspy.BaseLM, trials: Trials, price: Price, seed: int, patience: int | None) -> None:
        """patience: calls that may follow each other without a prompt that is tried; None: any number."""
        self._lm, self._trials, self._price, self._seed, self._patience = lm, trials, price, seed, patience
        self._tried = self._since = 0
        self._asked: Counter[str] = Counter()
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def supported_params(self) -> frozenset[str]:
        return frozenset(self._lm.supported_params)

    @property
    def supports_response_schema(self) -> bool:
        return bool(self._lm.supports_response_schema)

    @property
    def supports_function_calling(self) -> bool:
        return bool(self._lm.supports_function_calling)

    def complete(self, request: Any) -> Any:
        """One lm15 response."""
        text = json.dumps(request_to_dict(request), sort_keys=True, default=str)
        digest = blake2b(f"{self._lm.model} {text}".encode(), digest_size=16).hexdigest()
        with self._lock:
            self._check_use()
            number, time = self._calls, self._asked[digest]
            self._calls += 1
            self._asked[digest] += 1
        key, place = f"reflection/{digest}/{time}", (-1 - number, _EXAMPLE)
        journal = self._trials.record.journal(*place)
        found = journal.find(key)
        if found is not None:
            return response_from_dict(json.loads(found.text))
        asked, squeezed = self._limited(request, len(text))
        response, spent = self._ask(asked, len(text), sample_seed(self._seed, digest, (time,)))
        if squeezed and response.finish_reason == "length":
            raise Stopped(SPENT)  # what the budget cut short is no instruction
        kept = json.dumps(response_to_dict(response), default=str)
        inputs, outputs = _counts(response, len(text))
        journal.keep(key, Completion(text=kept, output_tokens=outputs, prompt_tokens=inputs, finish_reason="stop"))
        took = Result(score=0.0, sequential=spent.total, total=spent.total, calls=1)
        self._trials.record.end(*place, took, paid=spent)
        return response

    def _check_use(self) -> None:
        """Raise `Stopped` where nothing comes of what is asked: GEPA goes on for ever with a model it cannot read."""
        tried = len(self._trials.trials)
        self._since = self._since + 1 if tried == self._tried else 0
        self._tried = tried
        if self._patience is not None and self._since > self._patience:
            raise Stopped(UNUSABLE)

    def _ask(self, request: Any, size: int, seed: int) -> tuple[Any, Amount]:
        most = request.config.max_tokens or 0
        prompt = self._prompt_tokens(request, size)
        hold = self._hold(Amount(calls=1, total=prompt + most, dollars=self._price.of(prompt, most)))
        spent = Amount(calls=1)  # a call that failed was a call
        try:
            seeded = request.config.seed is None and "seed" in self.supported_params
            sent = replace(request, config=replace(request.config, seed=seed)) if seeded else request
            response = self._lm(sent, cache=False)
            inputs, outputs = _counts(response, size)
            spent = Amount(calls=1, total=inputs + outputs, dollars=self._price.of(inputs, outputs))
        except Exception as error:
            if repeats(error):
                raise Stopped(f"{type(error).__name__}: {error}", error) from error
            raise
        finally:
            hold.settle(spent)
        return response, spent

    def _limited(self, request: Any, size: int) -> tuple[Any, bool]:
        """The request with no more output than the budget has room for, and whether that is less than it may write."""
        room = self._trials.room
        if room.seconds_left(self._price.hour) <= 0 or room.room("calls") < 1:
            raise Stopped(SPENT)
        if not room.limits("total"):
            return request, False
        left = int(room.room("total")) - self._prompt_tokens(request, size)
        own = self._most(request)
        if left < _SHORTEST:
            raise Stopped(SPENT)
        most = left if own is None else min(left, own)
        return replace(request, config=replace(request.config, max_tokens=most)), own is None or left < own

    def _most(self, request: Any) -> int | None:
        """Output tokens it may write by itself; None where nobody knows."""
        runtime = runtime_behind(self._lm)
        default = None if runtime is None else runtime.backend.default_max_tokens
        most: int | None = request.config.max_tokens or default
        return most

    def _prompt_tokens(self, request: Any, size: int) -> int:
        runtime = runtime_behind(self._lm)
        tokenizer = None if runtime is None else runtime.backend.tokenizer
        if tokenizer is None:
            return -(-size // _CHARACTERS)
        return len(tokenizer.encode(json.dumps(request_to_dict(request), ensure_ascii=False, default=str)))

    def _hold(self, amount: Amount) -> Hold:
        hold = self._trials.room.reserve(amount)
        if hold is None:
            raise Stopped(SPENT)
        return hold

    def __copy__(self) -> CountedEngine:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CountedEngine:
        return self


def counted(lm: dspy.BaseLM, trials: Trials, price: Price, seed: int, *, patience: int | None = None) -> dspy.LM:
    """The language model, its calls found in the record and paid from the budget of `trials`.

    patience: calls that may follow each other without a prompt that is tried.
    """
    kept = {name: value for name, value in lm.kwargs.items() if name not in CLIENT_KEYS and value is not None}
    return dspy.LM(
        lm.model, engine=CountedEngine(lm, trials, price, seed, patience), cache=False, num_retries=0, **kept
    )


def _counts(response: Any, size: int) -> tuple[int, int]:
    """(input, output) tokens; estimated where the model does not say."""
    usage = response.usage
    inputs = getattr(usage, "input_tokens", None)
    outputs = getattr(usage, "output_tokens", None)
    text = sum(len(getattr(part, "text", "") or "") for part in response.message.parts)
    return (size // 4 if inputs is None else inputs, text // 4 if outputs is None else outputs)
