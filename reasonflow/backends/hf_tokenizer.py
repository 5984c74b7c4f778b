"""The model's tokenizer and chat template, without the engine and without transformers.

`tokenizers` and Jinja give exactly what transformers' `apply_chat_template` gives (a test compares them) and import in
a tenth of a second, so that a plan can be explained before anything heavy is loaded.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from reasonflow.backends.model_files import ModelFiles
from reasonflow.backends.protocol import Message, Tokens
from reasonflow.backends.text_pieces import LEAST, falls_apart, pieces
from reasonflow.backends.tools import template_messages
from reasonflow.errors import EngineStartError, InputError

if TYPE_CHECKING:
    import jinja2
    import tokenizers


_REMEMBERED = 64
"""Texts, and as many beginnings of texts, whose ids are kept: more than what branches of running programs have in
common."""
NO_SYSTEM_TURN = "a system turn in its chat template (the text opens the first user turn instead)"
"""What an engine says that it lacks."""


class HfTokenizer:
    """A `Tokenizer` over a model's files. Nothing is loaded before the first use; safe to share between threads."""

    def __init__(self, files: ModelFiles, template_options: Mapping[str, Any] | None = None) -> None:
        """`template_options` are handed to the chat template as they are (`{"enable_thinking": False}`)."""
        self._files = files
        self._options = dict(template_options or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._files, self._options)  # another process loads it anew

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Tokens:
        """The chat as token ids, ready for the assistant's turn. Raises InputError where the template refuses it."""
        return self.encode(self.render_text(messages, tools))

    def render_text(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The chat as the model's template writes it, up to the opening of the assistant's turn.

        A template that knows no tools leaves them out: a call of one can then still be forced.
        """
        import jinja2

        turns = template_messages(messages)
        if turns and turns[0].get("role") == "system" and not self.system_turns:
            turns = _folded(turns)
        try:
            return self._written(turns, tools)
        except (jinja2.TemplateError, TypeError) as error:
            raise InputError(
                f"the chat template of {self._files.name!r} refuses these messages",
                why=str(error) or type(error).__name__,
                fix="check the roles and their order: " + ", ".join(str(turn.get("role")) for turn in turns),
            ) from error

    def _written(self, turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        return self._template.render(
            messages=turns,
            tools=[dict(tool) for tool in tools] or None,
            documents=None,
            add_generation_prompt=True,
            **self._specials,
            **self._options,
        )

    def encode(self, text: str) -> Tokens:
        """The ids of `text`; nothing is added, and special tokens written in it become their ids."""
        if len(text) <= LEAST or not self._falls_apart:
            return self._whole(text)
        *heads, tail = pieces(text)
        return tuple(itertools.chain(*map(self._head, heads), self._whole(tail)))

    @cached_property
    def _falls_apart(self) -> bool:
        return falls_apart(self._core)

    @cached_property
    def _whole(self) -> Callable[[str], Tokens]:
        """Branches of one prompt render it each for itself."""
        return lru_cache(maxsize=_REMEMBERED)(self._ids)

    @cached_property
    def _head(self) -> Callable[[str], Tokens]:
        """Remembered by themselves: the many ends of texts would drive them out."""
        return lru_cache(maxsize=_REMEMBERED)(self._ids)

    def _ids(self, text: str) -> Tokens:
        # Of a batch, because that lets go of the interpreter: an engine's thread goes on beside many renderings.
        (found,) = self._core.encode_batch_fast([text], add_special_tokens=False)
        return tuple(found.ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, special tokens included: the inverse of `encode`."""
        return self._core.decode(list(tokens), skip_special_tokens=False)

    @cached_property
    def system_turns(self) -> bool:
        """Tried: some templates refuse a system turn (Gemma's), some leave it out without a word, and some put it into
        the last user turn (Mistral's), where it moves from prompt to prompt."""
        import jinja2

        roles = ("system", "user", "assistant", "user")
        said = [f"turn {number}" for number in range(len(roles))]
        try:
            text = self._written([{"role": role, "content": text} for role, text in zip(roles, said, strict=True)])
        except (jinja2.TemplateError, TypeError):
            return False
        except InputError:  # no template at all: rendering says so
            return True
        return -1 < text.find(said[0]) < text.find(said[1])

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The strings that `encode` turns into control ids: what data from outside must not contain."""
        added = self._core.get_added_tokens_decoder().values()
        return tuple(token.content for token in added if token.special)

    @cached_property
    def _core(self) -> tokenizers.Tokenizer:
        from tokenizers import AddedToken, Tokenizer

        path = self._files.folder / "tokenizer.json"
        if not path.is_file():
            return self._converted()
        core = Tokenizer.from_file(str(path))
        core.no_truncation()  # some files carry the settings of their training
        core.no_padding()
        for token in (self._settings.get("added_tokens_decoder") or {}).values():
            if core.token_to_id(token["content"]) is None:
                kind = {key: value for key, value in token.items() if key not in ("content", "special")}
                added = AddedToken(token["content"], special=bool(token.get("special")), **kind)
                core.add_special_tokens([added]) if added.special else core.add_tokens([added])
        return core

    def _converted(self) -> tokenizers.Tokenizer:
        """The tokenizer of a folder in an older format, converted by transformers."""
        from transformers import AutoTokenizer

        try:
            core = AutoTokenizer.from_pretrained(self._files.folder).backend_tokenizer
        except (OSError, ValueError, AttributeError, ImportError) as error:
            raise EngineStartError(
                f"the model {self._files.name!r} has no tokenizer that can be read",
                why=f"no tokenizer.json in {self._files.folder}, and transformers cannot make one: {error}",
                fix="add tokenizer.json to the folder, or run `reasonflow doctor`",
            ) from error
        converted: tokenizers.Tokenizer = core
        return converted

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        return self._files.json("tokenizer_config.json")

    @cached_property
    def _specials(self) -> dict[str, str]:
        """The named tokens a template may use: bos_token, eos_token, ..."""
        named = {key: value for key, value in self._settings.items() if key.endswith("_token") and value}
        named = {**self._files.json("special_tokens_map.json"), **named}
        texts = {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}
        return {key: value for key, value in texts.items() if isinstance(value, str)}

    @cached_property
    def _template(self) -> jinja2.Template:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_generation_block(), loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
        return environment.from_string(self._template_text)

    @property
    def _template_text(self) -> str:
        own_file = self._files.folder / "chat_template.jinja"
        if own_file.is_file():
            return own_file.read_text(encoding="utf-8")
        template = self._settings.get("chat_template")
        if isinstance(template, list):  # several named ones
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        if not isinstance(template, str):
            raise InputError(
                f"the model {self._files.name!r} has no chat template",
                why="neither chat_template.jinja nor tokenizer_config.json holds one: it is a base model",
                fix="use the model's instruct version",
            )
        return template


def _folded(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with the system's text at the beginning of the user's first one."""
    system, *others = turns
    text = system.get("content")
    if not text:
        return others
    if not others or others[0].get("role") != "user":
        return [{"role": "user", "content": text}, *others]
    first, *rest = others
    said = first.get("content")
    joined: Any = f"{text}\n\n{said}"
    if not isinstance(said, str):
        joined = [{"type": "text", "text": f"{text}\n\n"}, *(said or ())]
    return [{**first, "content": joined}, *rest]


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Jinja's own filter escapes HTML characters, which no chat template wants."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _generation_block() -> type[jinja2.ext.Extension]:
    """`{% generation %}` marks the assistant's tokens for training; here its content is simply kept."""
    from jinja2 import nodes, parser
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - an instance variable in Jinja's own declaration

        def parse(self, parser: parser.Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation
