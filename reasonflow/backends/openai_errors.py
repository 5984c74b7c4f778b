"""What goes wrong with a server, in our errors. Whatever the server writes is cut and never trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from reasonflow.errors import BackendError, EngineDead, EngineStartError, InputError, PromptTooLong, ReasonFlowError

MOST_CHARACTERS = 500
"""Of a server's message that an error shows."""
_TOO_LONG = re.compile(r"context[ _](length|window)|maximum (model|input) length|prompt is too long", re.IGNORECASE)


def refused(status: int, body: bytes, base_url: str) -> ReasonFlowError:
    """The error for a status that is none of success."""
    said = message(body) or "it gave no reason"
    if status in (401, 403):
        return BackendError(
            f"the server at {base_url} lets nobody in with this key (status {status})",
            why=said,
            fix='pass the key: api_key=..., or api_key_env="OPENAI_API_KEY" to have it read from the environment',
        )
    if status in (408, 409, 425, 429) or status >= 500:
        return transient(f"the server at {base_url} answered with status {status}", said)
    if status in (400, 413, 422) and _TOO_LONG.search(said):
        return PromptTooLong(
            "the prompt, with what it may generate, does not fit the server's window",
            why=said,
            fix="shorten the inputs, lower max_tokens, or start the server with a larger --max-model-len",
        )
    return InputError(
        f"the server at {base_url} refused the request (status {status})",
        why=said,
        fix="change what it names; options that are vLLM's own (top_k, min_p, ...) are unknown to other servers",
    )


def message(body: bytes) -> str:
    """What the server said, in a few words; also where its body has no form that we know."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = body.decode("utf-8", "replace")
    return _words(said)[:MOST_CHARACTERS]


def of_stream(error: Any, base_url: str) -> ReasonFlowError:
    """The error of an event that says the stream has failed."""
    status = error.get("code") if isinstance(error, Mapping) else None
    body = json.dumps({"error": error}).encode()
    return refused(status if isinstance(status, int) and 400 <= status < 600 else 500, body, base_url)


def malformed(why: str) -> BackendError:
    """The server answered with something that is no answer."""
    return transient("the server's answer cannot be read", why[:MOST_CHARACTERS])


def broke_off(why: str) -> BackendError:
    """The connection ended before the answer did."""
    return transient("the connection to the server broke off", why[:MOST_CHARACTERS])


def silent(timeout_s: float) -> BackendError:
    """Nothing came for too long. Not transient: asking again would wait as long once more."""
    return BackendError(
        f"the server has said nothing for {timeout_s:.0f} s",
        why="it hangs, or a text takes it longer than that",
        fix="look at the server; if its texts are really that long, set a larger timeout_s",
    )


def transient(what: str, why: str) -> BackendError:
    """An error after which the same request may succeed."""
    error = BackendError(what, why=why, fix="look at the server's own log if it happens again and again")
    error.transient = True
    return error


def no_server(base_url: str, model: str, why: str) -> EngineStartError:
    """There is nobody to ask."""
    return EngineStartError(
        f"no server answers at {base_url}",
        why=why[:MOST_CHARACTERS],
        fix=f"start one: python -m vllm.entrypoints.openai.api_server --model {model}; or correct base_url",
    )


def closed(base_url: str) -> EngineDead:
    """Somebody closed our side of it."""
    error = EngineDead(
        f"the connection to the server at {base_url} was closed",
        why="close() was called on this engine; the server itself goes on",
        fix="open it again with rf.openai(...)",
    )
    error.restartable = False
    return error


def _words(said: Any) -> str:
    if isinstance(said, Mapping):
        for name in ("error", "message", "detail"):
            if said.get(name):
                inner = _words(said[name])
                code = said.get("code")
                return f"{inner} ({code})" if name == "message" and isinstance(code, str) else inner
        return json.dumps(said, ensure_ascii=False)
    return str(said).strip()
