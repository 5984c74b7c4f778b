"""Options of a program from the command line: types come from its constructor."""

from __future__ import annotations

from typing import Any, Literal

import pytest

import reasonflow as rf
from reasonflow import programs
from reasonflow.cli.options import build, open_lm, options_of, parse_engine_options, parse_settings
from reasonflow.errors import InputError, UnknownName


class Made:
    """Options of every kind."""

    def __init__(
        self,
        signature: str = "a -> b",
        widths: tuple[int, ...] = (16, 8, 4),
        n: int = 8,
        share: float | None = None,
        mode: Literal["global", "topk"] = "global",
        deep: bool = False,
        pair: tuple[int, float] = (1, 2.0),
        untyped=(1, 2),  # type: ignore[no-untyped-def]
        word: str | int = 3,
        config: dict[str, Any] | None = None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("widths=4,2", (4, 2)),
        ("widths=(4, 2)", (4, 2)),
        ("widths=[4]", (4,)),
        ("widths=(4,)", (4,)),
        ("n=3", 3),
        ("n = 3", 3),
        ("share=0.5", 0.5),
        ("share=none", None),
        ("mode=topk", "topk"),
        ("deep=yes", True),
        ("deep=0", False),
        ("pair=3,0.5", (3, 0.5)),
        ("untyped=7,8", (7, 8)),
        ("word=7", 7),
        ("word=seven", "seven"),
    ],
)
def test_values(word: str, value: object) -> None:
    name = word.partition("=")[0].strip()
    assert parse_settings(Made, [word]) == {name: value}


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["widht=3"], UnknownName, "did you mean 'widths'"),
        (["signature=a -> b"], UnknownName, "unknown option"),
        (["config=x"], UnknownName, "unknown option"),
        (["widths=a,b"], InputError, "not a list of whole numbers"),
        (["n=1.5"], InputError, "not a whole number"),
        (["n="], InputError, "default 8"),
        (["mode=both"], InputError, "one of global, topk"),
        (["pair=1"], InputError, "--set pair=1,2.0"),
        (["n"], InputError, "key=value"),
        (["=3"], InputError, "key=value"),
        (["n=1", "n=2"], InputError, "twice"),
        (["share=much"], InputError, "a number or none"),
    ],
)
def test_bad_values(words: list[str], error: type[InputError], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_settings(Made, words)


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_every_program_can_be_built_from_its_own_defaults(name: str) -> None:
    program_class = programs.find(name)
    words: list[str] = []
    for option, (_, default) in options_of(program_class).items():
        if isinstance(default, (int, float, str, tuple)):
            spelled = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
            words.append(f"{option}={spelled}")
    retriever = (lambda query: []) if programs.searches(program_class) else None
    assert isinstance(build(name, "question -> answer", words, retriever=retriever), rf.Program)


def test_a_program_that_searches_needs_a_corpus_and_others_have_no_use_for_it() -> None:
    with pytest.raises(InputError, match="hybrid_search has nothing to search"):
        build("hybrid_search", "question -> answer")
    with pytest.raises(InputError, match="pdr searches nothing"):
        build("pdr", "question -> answer", retriever=lambda query: [])


def test_an_unknown_program_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'self_consistency'"):
        build("selfconsistency", "question -> answer")


def test_the_engine_of_a_model_is_named_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "secret")
    served = open_lm("openai/some/model", engine="http://127.0.0.1:9/v1", api_key_env="SERVER_KEY", temperature=0.5)
    assert served.engine.spec.kind == "openai"
    assert served.model == "some/model"
    assert served.kwargs["temperature"] == 0.5
    assert "secret" not in repr(served.engine.dump_state())
    served.engine.close()
    for engine in ("lm15", "litellm"):
        hosted = open_lm("openai/gpt-4o", engine=engine)
        assert (hosted.model, hosted.engine, hosted.cache) == ("openai/gpt-4o", engine, False)


def test_an_engine_nobody_knows_and_a_key_nobody_takes() -> None:
    with pytest.raises(UnknownName, match="known: litellm, lm15, vllm"):
        open_lm("m", engine="litelm")
    with pytest.raises(InputError, match="--api-key-env has no use with --engine vllm"):
        open_lm("m", api_key_env="KEY")


def test_engine_options_are_read_as_json_where_they_are_json() -> None:
    words = ["max_num_seqs=64", "load-format=dummy", 'compilation_config={"mode": 0}', "enforce_eager=true"]
    assert parse_engine_options(words) == {
        "max_num_seqs": 64,
        "load_format": "dummy",
        "compilation_config": {"mode": 0},
        "enforce_eager": True,
    }


@pytest.mark.parametrize("words", [["max_num_seqs"], ["=3"], ["seed=1", "seed=2"]])
def test_engine_options_that_are_none_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="--engine-option"):
        parse_engine_options(words)
