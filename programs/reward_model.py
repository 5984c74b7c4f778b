"""A reward model as a verifier: a transformer with one label, run beside the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import reasonflow as rf
from reasonflow.errors import InputError

_NO_LIMIT = 1 << 20
"""Tokenizers that know no longest text say a number far beyond this."""


class RewardModel:
    """The score a sequence classifier with one label gives to the problem and a candidate, read as a conversation.

    Nothing is loaded, torch neither, before the first candidates are scored; that happens in a worker thread. All
    copies share the loaded model.

    model: a Hugging Face name or a folder.
    max_tokens: a longer text loses its beginning, and the run record says so. None: as long as the model allows.
    batch_size: texts scored at once. A tokenizer without a padding token has them scored one by one.
    device: where it runs, as torch spells it. The CPU is the default because the engine fills the GPU.
    options: handed to `from_pretrained` of the model (`torch_dtype`, `revision`, ...).
    """

    def __init__(
        self, model: str, *, max_tokens: int | None = None, batch_size: int = 8, device: str = "cpu", **options: Any
    ) -> None:
        for name, number in (("max_tokens", max_tokens), ("batch_size", batch_size)):
            if number is not None and number < 1:
                raise InputError(f"{name} is {number}", fix=f"give {name} a positive number")
        self.model = str(model)
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.device = device
        self.options = options
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def scores(self, inputs: Mapping[str, Any], candidates: Any) -> Any:
        return rf.call(self.score, dict(inputs), candidates)

    def score(self, inputs: Mapping[str, Any], candidates: Sequence[Any]) -> list[float | None]:
        """One number per candidate, a record or a text; None for a hole."""
        texts = [None if not candidate else getattr(candidate, "solution", candidate) for candidate in candidates]
        loaded = self._load()
        rows = [loaded.tokens(_question(inputs), text) for text in texts if text is not None]
        limit = min(self.max_tokens or _NO_LIMIT, loaded.longest)
        cut = sum(len(row) > limit for row in rows)
        if cut:
            rf.note(f"{cut} of {len(rows)} candidates were cut from the left to {limit} tokens")
        numbers = iter(loaded.rewards([row[-limit:] for row in rows], self.batch_size))
        return [None if text is None else next(numbers) for text in texts]

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _Loaded(self.model, self.device, self.options)
            return self._loaded

    def __deepcopy__(self, memo: dict[int, Any]) -> RewardModel:
        return self  # it never changes, and its weights are too large for every copy of a program

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_loaded")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _loaded=None)


class _Loaded:
    """The model and its tokenizer in memory. Raises InputError where it is no reward model."""

    def __init__(self, name: str, device: str, options: Mapping[str, Any]) -> None:
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise InputError(
                "a reward model needs transformers and torch", why=str(error), fix="pip install transformers torch"
            ) from error
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.model = AutoModelForSequenceClassification.from_pretrained(name, **options).to(device).eval()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name!r} cannot be loaded as a sequence classifier",
                why=str(error).strip().split("\n")[0],
                fix="give the Hugging Face name or the folder of a reward model",
            ) from error
        labels = self.model.config.num_labels
        if labels != 1:
            raise InputError(
                f"{name!r} has {labels} labels",
                why="a reward model gives one number for a text",
                fix="use a model trained as one (num_labels=1 in its config.json)",
            )

    @property
    def longest(self) -> int:
        """Tokens of a text at most."""
        limits = (self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", None))
        return min((limit for limit in limits if limit), default=_NO_LIMIT)

    def tokens(self, question: str, answer: str) -> list[int]:
        """The two as a conversation in the model's own format, or one below the other where it has none."""
        if getattr(self.tokenizer, "chat_template", None):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
            found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return found
        found = self.tokenizer(f"{question}\n\n{answer}")["input_ids"]
        return found

    def rewards(self, rows: Sequence[list[int]], batch_size: int) -> Iterator[float]:
        import torch

        pad = self.model.config.pad_token_id
        if pad is None:  # the model finds the end of a padded text by this token
            pad, batch_size = 0, 1
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch], device=self.model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=mask).logits
            yield from logits[:, 0].float().tolist()


def _question(inputs: Mapping[str, Any]) -> str:
    """The program's inputs as one text: a single one as it is."""
    if len(inputs) == 1:
        return str(next(iter(inputs.values())))
    return "\n\n".join(f"{name.replace('_', ' ').capitalize()}: {value}" for name, value in inputs.items())
