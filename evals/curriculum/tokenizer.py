"""Writes the small model's tokenizer files: a unigram vocabulary of whole words over single letters over bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reasonflow.errors import InputError
from reasonflow.evals.curriculum.vocabulary import CONTROLS, END, END_OF_TURN, MARKERS, PAD, PIECE, SIZE, SPARE, pieces

WINDOW = 8192
"""Tokens of prompt and output."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path, texts: Iterable[str] = ()) -> None:
    """tokenizer.json and tokenizer_config.json; `texts` are prompts whose words become pieces.

    Raises InputError where the pieces leave fewer than the spare ids.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    words = pieces(texts)
    head = [*CONTROLS, *MARKERS, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    spare = SIZE - len(head)
    if spare < SPARE:
        raise InputError(f"{len(words)} pieces leave {spare} spare ids", fix=f"drop pieces: {SPARE} ids stay free")
    spares = [f"<|spare_{number}|>" for number in range(spare)]
    # Equal scores: the fewest pieces win, so that a whole word always beats its letters.
    vocabulary = [(piece, -1.0) for piece in (*head, *spares)]
    core = Tokenizer(models.Unigram(vocabulary, unk_id=CONTROLS.index(PAD), byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="isolated")
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*CONTROLS, *spares)])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKERS])
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            # The class that takes tokenizer.json as it is: others build a pre-tokenizer of their own.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END_OF_TURN,
            "pad_token": PAD,
            "unk_token": END,
            "model_max_length": WINDOW,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
