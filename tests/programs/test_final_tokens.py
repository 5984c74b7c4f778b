"""Which tokens are those of the final answer."""

from __future__ import annotations

import pytest

from reasonflow.backends.protocol import TokenLogprobs
from reasonflow.programs.final_tokens import final_tokens


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (["So", " \\boxed", "{", "4", "2", "}", "."], ["4", "2"]),
        (["\\boxed{", "1", "} or ", "\\boxed{4", "2}"], ["\\boxed{4", "2}"]),
        (["\\boxed{\\frac{", "1}", "{2", "}}"], ["\\boxed{\\frac{", "1}", "{2", "}}"]),
        (["The answer is", " 42"], []),
        (["\\boxed{", "4"], []),
        ([], []),
    ],
)
def test_those_that_hold_any_of_the_last_box(text: list[str], found: list[str]) -> None:
    tokens = [TokenLogprobs(token, -0.1) for token in text]
    assert [token.token for token in final_tokens(tokens)] == found
