"""The laws of `Backend`: an engine that keeps them works under ReasonFlow's runtime.

```python
@pytest.mark.parametrize("law", [*BACKEND_LAWS, *CLOSING_LAWS], ids=lambda law: law.__name__)
def test_my_backend_keeps(law):
    asyncio.run(law(lambda: MyBackend("model")))
```

A factory may hand out one running engine again and again where starting one is expensive: only `CLOSING_LAWS` close
what they get. Nothing else may use that engine meanwhile. Samples should last some milliseconds at least: the law about
cancelling needs to find them running.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import anyio

from reasonflow.backends.protocol import Backend, Completion, Counters, Piece, Prompt, Request, Sampling
from reasonflow.errors import EngineDead, PromptTooLong
from reasonflow.testing.laws import Law, hold, law

Make: TypeAlias = Callable[[], Backend]
"""Gives a backend: a fresh one, or for all but the closing laws the same running one."""

_CAP = 400
"""Generated tokens of samples that are to be cancelled."""


async def check_backend(make: Make, *, shared: bool = False) -> None:
    """Hold a backend to all its laws. Raises LawBroken for the first that is broken.

    shared: `make` gives the same engine every time; it is left running, and the laws about closing are left out.
    """
    for each in BACKEND_LAWS if shared else (*BACKEND_LAWS, *CLOSING_LAWS):
        await each(make)


@law
async def facts_are_known_before_the_start(make: Make) -> None:
    """Name, sizes and fingerprint can be read without an engine, and starting is idempotent."""
    backend = make()
    hold(bool(backend.model), f"the model's name is {backend.model!r}")
    hold(backend.max_running >= 1, f"max_running is {backend.max_running}")
    sizes = (("window", backend.window), ("block_size", backend.block_size), ("kv_tokens", backend.kv_tokens))
    for name, size in sizes:
        hold(size is None or size >= 1, f"{name} is {size}")
    fingerprint = backend.fingerprint()
    hold({"engine", "model"} <= set(fingerprint), f"the fingerprint has only {sorted(fingerprint)}")
    hold(all(isinstance(value, str) for value in fingerprint.values()), f"the fingerprint {fingerprint} has no texts")
    if backend.capabilities.token_prompts:
        hold(backend.tokenizer is not None, "it takes token prompts and has no tokenizer")
    await backend.start()
    await backend.start()


@law
async def samples_come_in_order_and_their_ends_are_told_once(make: Make) -> None:
    """Every sample's end is told exactly once, equal to what is returned, and without `stream` nothing else is."""
    backend, seen = make(), list[Piece | tuple[int, Completion]]()
    completions = await backend.generate(_request(backend, "Count to three.", n=3, max_tokens=6, seed=1), seen.append)
    hold(len(completions) == 3, f"{len(completions)} completions for n=3")
    hold(not any(isinstance(item, Piece) for item in seen), "pieces were told although the request does not stream")
    ends = [item for item in seen if not isinstance(item, Piece)]
    hold(sorted(index for index, _ in ends) == [0, 1, 2], f"ends were told of {[index for index, _ in ends]}")
    for index, completion in ends:
        hold(
            completion == completions[index], f"sample {index} was told as {completion}, returned {completions[index]}"
        )


@law
async def pieces_add_up_to_the_text(make: Make) -> None:
    """The pieces of a streamed sample come before its end, and together they are its text."""
    backend, seen = make(), list[Piece | tuple[int, Completion]]()
    request = replace(_request(backend, "Tell me a story.", n=2, max_tokens=12, seed=2), stream=True)
    completions = await backend.generate(request, seen.append)
    for index, completion in enumerate(completions):
        mine = [item for item in seen if (item.index if isinstance(item, Piece) else item[0]) == index]
        pieces = [item for item in mine if isinstance(item, Piece)]
        text = "".join(piece.text for piece in pieces)
        hold(text == completion.text, f"the pieces of sample {index} are {text!r}, its text is {completion.text!r}")
        hold(not isinstance(mine[-1], Piece), f"a piece of sample {index} came after its end")
        tokens = tuple(token for piece in pieces for token in piece.tokens)
        hold(completion.tokens[: len(tokens)] == tokens, f"the pieces of sample {index} have other tokens than its end")


@law
async def caps_are_kept_and_counted(make: Make) -> None:
    """No sample has more tokens than `max_tokens`, and its counts and times agree with each other."""
    backend = make()
    for completion in await backend.generate(_request(backend, "Talk at length.", n=2, max_tokens=3)):
        hold(1 <= completion.output_tokens <= 3, f"{completion.output_tokens} tokens for max_tokens=3")
        hold(completion.finish_reason in ("stop", "length"), f"the finish reason is {completion.finish_reason!r}")
        hold(len(completion.tokens) in (0, completion.output_tokens), f"{completion.tokens} are not output_tokens")
        hold(completion.prompt_tokens > 0, "the prompt has no tokens")
        first = completion.total_s if completion.first_token_s is None else completion.first_token_s
        times = (0.0, completion.queued_s, first, completion.total_s)
        hold(list(times) == sorted(times), f"(arrival, queued_s, first_token_s, total_s) are {times}")


@law
async def log_probabilities_stand_beside_every_token(make: Make) -> None:
    """Where it reports them: one entry a token, the likeliest first, as many as were asked for."""
    backend = make()
    most = min(backend.capabilities.top_logprobs, 3)
    if not most:
        return
    request = _request(backend, "Name a river.", max_tokens=4, temperature=1.0, seed=3)
    request = replace(request, sampling=replace(request.sampling, logprobs=most))
    (completion,) = await backend.generate(request)
    tokens = len(completion.logprobs)
    hold(tokens == completion.output_tokens, f"{tokens} log-probabilities for {completion.output_tokens} tokens")
    for each in completion.logprobs:
        values = [value for _, value in each.top]
        hold(each.logprob <= 0 and values == sorted(values, reverse=True), f"{each} is not in order")
        hold(1 <= len(values) <= most + 1, f"{len(values)} of the likeliest tokens for logprobs={most}")
    (plain,) = await backend.generate(_request(backend, "Name a river.", max_tokens=4))
    hold(not plain.logprobs, "log-probabilities were reported that nobody had asked for")


@law
async def a_text_follows_its_json_schema(make: Make) -> None:
    """Where it says that it can: what comes is JSON of the schema."""
    backend = make()
    if not backend.capabilities.json_schema:
        return
    schema = json.dumps(
        {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}},
            "required": ["sure"],
            "additionalProperties": False,
        }
    )
    request = _request(backend, "Is water wet? Answer in JSON.", max_tokens=40, temperature=1.0, seed=4)
    (completion,) = await backend.generate(replace(request, sampling=replace(request.sampling, json_schema=schema)))
    try:
        found = json.loads(completion.text)
    except ValueError:
        found = None
    hold(
        isinstance(found, dict) and found.keys() == {"sure"} and isinstance(found["sure"], bool),
        f"{completion.text!r} does not follow the schema {schema}",
    )


@law
async def a_stop_string_ends_the_text_before_it(make: Make) -> None:
    """A text ends before the first stop string, which is not part of it; the token ids, if there are any, hold it."""
    backend = make()
    request = _request(backend, "What is the capital of France? Answer in a sentence.", max_tokens=24, temperature=0.0)
    (whole,) = await backend.generate(request)
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 3]
    if not stop.strip():
        return  # nothing to stop at
    (cut,) = await backend.generate(replace(request, sampling=replace(request.sampling, stop=(stop,))))
    hold(stop not in cut.text, f"{cut.text!r} was to end before {stop!r}")
    hold(cut.stopped in (None, stop), f"{stop!r} ended the text, not {cut.stopped!r}")
    if cut.tokens and cut.stopped is not None and backend.tokenizer is not None:
        hold(stop in backend.tokenizer.decode(cut.tokens), f"the token ids end before {stop!r}")


@law
async def cancelling_leaves_nothing_running_and_tells_how_far_it_came(make: Make) -> None:
    """When a cancelled call is over its samples have left the engine, each told once with what it had generated."""
    backend, seen = make(), list[Piece | tuple[int, Completion]]()
    before = await backend.counters()
    request = _request(backend, "Talk for hours.", n=3, max_tokens=_CAP, ignore_eos=backend.capabilities.ignore_eos)
    async with anyio.create_task_group() as group:
        group.start_soon(backend.generate, request, seen.append)
        with anyio.move_on_after(30):
            while not seen and not _grown(before, await backend.counters()):  # noqa: ASYNC110
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    after = await backend.counters()
    inside = (after.running, after.waiting)
    hold(inside == (before.running, before.waiting), f"(running, waiting) are {inside} after the cancellation")
    ends = [item for item in seen if not isinstance(item, Piece)]
    hold(sorted(index for index, _ in ends) == [0, 1, 2], f"ends were told of {[index for index, _ in ends]}")
    cut = [end for _, end in ends if end.finish_reason == "cancelled"]
    hold(all(end.output_tokens < _CAP for end in cut), "a cancelled sample has all its tokens")
    hold(all(end.prompt_tokens > 0 for end in cut if end.output_tokens), "a sample began without its prompt")
    _same_totals(before, after, [end for _, end in ends])


@law
async def counters_are_the_sums_of_the_completions(make: Make) -> None:
    """Over requests that finished, the engine's own totals grow by what their completions say."""
    backend = make()
    before = await backend.counters()
    completions: list[Completion] = []

    async def ask(text: str) -> None:
        completions.extend(await backend.generate(_request(backend, text, n=2, max_tokens=5)))

    async with anyio.create_task_group() as group:
        for text in ("One.", "Two.", "Three."):
            group.start_soon(ask, text)
    after = await backend.counters()
    _same_totals(before, after, completions)
    hold((after.running, after.waiting) == (0, 0), f"{after.running} run and {after.waiting} wait after the end")
    hold(after.steps >= before.steps, f"steps went from {before.steps} to {after.steps}")


@law
async def equal_seeds_give_equal_samples(make: Make) -> None:
    """Where seeds are stated, the same request gives the same texts."""
    backend = make()
    if not backend.capabilities.seeds:
        return
    request = _request(backend, "Invent a name.", n=2, max_tokens=8, seed=11, temperature=1.0)
    await backend.generate(request)  # a cold prefix is computed in other steps, and may round differently
    first, again = await backend.generate(request), await backend.generate(request)
    texts = [[completion.text for completion in completions] for completions in (first, again)]
    hold(texts[0] == texts[1], f"{texts[0]} and then {texts[1]}")


@law
async def cached_tokens_are_counted_where_that_is_stated(make: Make) -> None:
    """Where cached counts are stated, every sample has one, and a prompt that was just computed is found again."""
    backend = make()
    if not backend.capabilities.cached_counts:
        return
    text, block = "A box holds red and blue balls. ", backend.block_size or 16
    request = _request(backend, text, max_tokens=1)
    while len(request.prompt.tokens or ()) < 3 * block and len(text) < 40 * block:
        text += text
        request = _request(backend, text, max_tokens=1)
    await backend.generate(request)
    (again,) = await backend.generate(request)
    hold(again.cached_tokens is not None, "cached_tokens is None")
    cached = again.cached_tokens or 0
    hold(0 < cached < again.prompt_tokens, f"{cached} of {again.prompt_tokens} tokens were cached the second time")


@law
async def token_prompts_need_no_messages(make: Make) -> None:
    """Where token prompts are stated, the tokens alone are enough and are counted as they are."""
    backend = make()
    if not backend.capabilities.token_prompts:
        return
    request = _request(backend, "Hello.", max_tokens=2)
    tokens = request.prompt.tokens or ()
    (completion,) = await backend.generate(replace(request, prompt=Prompt(tokens=tokens)))
    hold(completion.prompt_tokens == len(tokens), f"{completion.prompt_tokens} prompt tokens, {len(tokens)} were sent")


@law
async def a_prompt_that_fills_the_window_is_refused(make: Make) -> None:
    """PromptTooLong comes before anything is sent."""
    backend = make()
    if backend.window is None or backend.tokenizer is None:
        return
    await backend.start()
    before, seen = await backend.counters(), list[Piece | tuple[int, Completion]]()
    (token, *_) = backend.tokenizer.encode("word")
    prompt = Prompt(messages=(_message("word"),), tokens=(token,) * (backend.window or 0))
    try:
        await backend.generate(Request(prompt=prompt), seen.append)
    except PromptTooLong:
        pass
    else:
        hold(False, f"{backend.window} prompt tokens were accepted by a window of {backend.window}")
    hold(not seen, f"{seen} was told")
    hold(await backend.counters() == before, "the engine has counted something")


@law
async def a_score_has_one_log_probability_per_token(make: Make) -> None:
    """Where prompt logprobs are stated, a score holds one number, at most zero, per token of the continuation."""
    backend = make()
    if not backend.capabilities.prompt_logprobs or backend.tokenizer is None:
        return
    prompt, continuation = backend.tokenizer.encode("The capital of France is"), backend.tokenizer.encode(" Paris, yes")
    scores = await backend.score(prompt, continuation)
    hold(len(scores) == len(continuation), f"{len(scores)} numbers for {len(continuation)} tokens")
    hold(all(score <= 0 for score in scores), f"{scores} are no log-probabilities")


@law
async def a_closed_engine_is_dead(make: Make) -> None:
    """Closing is idempotent, answers who waits, and whatever comes later is answered EngineDead."""
    backend, seen = make(), list[Piece | tuple[int, Completion]]()
    request = _request(backend, "Talk for hours.", max_tokens=_CAP, ignore_eos=backend.capabilities.ignore_eos)
    await backend.start()

    async def ask() -> None:
        try:
            await backend.generate(request, seen.append)
        except EngineDead:
            return

    with anyio.move_on_after(60) as deadline:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(0.01)
            await backend.aclose()
    hold(not deadline.cancelled_caught, "a request in flight was not answered within a minute after the close")
    ended = [item[1].finish_reason for item in seen if isinstance(item, tuple)]
    hold("cancelled" not in ended, "a sample that the close ended was told as cancelled")
    await backend.aclose()
    try:
        await backend.generate(request)
    except EngineDead as error:
        hold(not error.restartable, "a closed engine calls itself restartable")
    else:
        hold(False, "a closed engine has answered")


BACKEND_LAWS: tuple[Law[Make], ...] = (
    facts_are_known_before_the_start,
    samples_come_in_order_and_their_ends_are_told_once,
    pieces_add_up_to_the_text,
    caps_are_kept_and_counted,
    log_probabilities_stand_beside_every_token,
    a_text_follows_its_json_schema,
    a_stop_string_ends_the_text_before_it,
    cancelling_leaves_nothing_running_and_tells_how_far_it_came,
    counters_are_the_sums_of_the_completions,
    equal_seeds_give_equal_samples,
    cached_tokens_are_counted_where_that_is_stated,
    token_prompts_need_no_messages,
    a_prompt_that_fills_the_window_is_refused,
    a_score_has_one_log_probability_per_token,
)
"""Laws that leave the engine running."""
CLOSING_LAWS: tuple[Law[Make], ...] = (a_closed_engine_is_dead,)
"""Laws that close the engine they get."""


def _message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _request(
    backend: Backend,
    text: str,
    *,
    n: int = 1,
    max_tokens: int,
    seed: int | None = None,
    temperature: float | None = None,
    ignore_eos: bool = False,
) -> Request:
    messages = ({"role": "system", "content": "Help."}, _message(text))
    takes = backend.capabilities.token_prompts and backend.tokenizer is not None
    tokens = backend.tokenizer.render(messages) if takes and backend.tokenizer is not None else None
    sampling = Sampling(max_tokens=max_tokens, seed=seed, temperature=temperature, ignore_eos=ignore_eos)
    return Request(prompt=Prompt(messages=messages, tokens=tokens), sampling=sampling, n=n, label="law")


def _grown(before: Counters, after: Counters) -> bool:
    """Whether samples are being decoded: the engine counts tokens, or at least says that some run."""
    return after.output_tokens > before.output_tokens or after.running > before.running


def _same_totals(before: Counters, after: Counters, completions: list[Completion]) -> None:
    """Exact for what finished; of each cancelled sample a step may be missing, which holds one prompt or one token."""
    cancelled = [end for end in completions if end.finish_reason == "cancelled"]
    for name, slack in (("prompt_tokens", None), ("cached_tokens", None), ("output_tokens", len(cancelled))):
        grown = getattr(after, name) - getattr(before, name)
        told = sum(getattr(end, name) or 0 for end in completions)
        if slack is None and any(not end.output_tokens for end in cancelled):
            continue  # its prompt may have been computed in the step that it left in
        hold(abs(grown - told) <= (slack or 0), f"{name} grew by {grown}, the completions say {told}")
