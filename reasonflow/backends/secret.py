"""A text that must not be seen: in no repr, no error, no saved state."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import NoReturn

from reasonflow.errors import BackendError

_SALT = secrets.token_bytes(16)
"""Of this process: what is shown of a secret cannot be looked up elsewhere."""


class Secret:
    """Holds a secret text. Two of equal texts look and are equal in one process; neither can be saved or pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for whom it is meant."""
        return self._text

    def __repr__(self) -> str:
        return f"<secret {blake2b(self._text.encode(), key=_SALT, digest_size=6).hexdigest()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(repr(self))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise BackendError(
            "a secret cannot be pickled",
            why="it would stand in the clear wherever the pickle is kept",
            fix='name an API key by its environment variable instead: api_key_env="OPENAI_API_KEY"',
        )
