"""The built-in models: whole, of the size they are said to have, with the tokenizer they were made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.backends import embedded
from reasonflow.backends.embedded import NAMES, folder_of, missing_files
from reasonflow.backends.hf_tokenizer import HfTokenizer
from reasonflow.backends.model_files import ModelFiles
from reasonflow.errors import InputError, UnknownName
from reasonflow.evals.curriculum.vocabulary import CONTROLS, MARKERS, SIZE, SPARE
from reasonflow.evals.tasks.lexicon import LEXICONS

TOKENIZER = HfTokenizer(ModelFiles("embedded"))
END, END_OF_TURN = 1, 3


def config_of(name: str, file: str = "config.json") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder_of(name) / file).read_text(encoding="utf-8"))
    return read


def shapes(name: str) -> dict[str, list[int]]:
    """Every tensor's shape, out of the headers of all weight files. Asserts that each file is as long as it says."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder_of(name).glob("*.safetensors")):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
        assert max(tensor["data_offsets"][1] for tensor in header.values()) + 8 + size == path.stat().st_size
        found |= {tensor: entry["shape"] for tensor, entry in header.items()}
    return found


def parameters(name: str) -> int:
    total = 0
    for shape in shapes(name).values():
        product = 1
        for edge in shape:
            product *= edge
        total += product
    return total


# The files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_whole_and_inside_the_package(name: str) -> None:
    import reasonflow

    assert missing_files(name) == []
    assert folder_of(name).is_relative_to(Path(reasonflow.__file__).parent)
    assert ModelFiles(name).window == 8192


@pytest.mark.parametrize(("name", "millions"), [("embedded", (5.5, 7.5)), ("embedded-draft", (0.7, 1.3))])
def test_the_sizes_are_about_six_million_and_one_million(name: str, millions: tuple[float, float]) -> None:
    assert millions[0] < parameters(name) / 1e6 < millions[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_have_the_shapes_that_the_configuration_promises(name: str) -> None:
    config, found = config_of(name), shapes(name)
    width = config["hidden_size"]
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert found["model.embed_tokens.weight"] == [config["vocab_size"], width] == [SIZE, width]
    assert "lm_head.weight" not in found  # tied
    assert len(found) == 11 * config["num_hidden_layers"] + 2
    heads = config["num_key_value_heads"] * config["head_dim"]
    assert found["model.layers.0.self_attn.k_proj.weight"] == [heads, width]
    assert found["model.layers.0.mlp.down_proj.weight"] == [width, config["intermediate_size"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_ends_where_the_tokenizer_says_it_does(name: str) -> None:
    settings = config_of(name, "generation_config.json")
    assert settings["eos_token_id"] == [END_OF_TURN, END]
    assert (settings["temperature"], settings["max_new_tokens"]) == (1.0, 768)
    assert TOKENIZER.encode("<|im_end|><|endoftext|>") == (END_OF_TURN, END)


def test_both_models_read_the_same_tokens() -> None:
    first, second = ((folder_of(name) / "tokenizer.json").read_bytes() for name in NAMES)
    assert first == second


def test_another_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean 'embedded'"):
        folder_of("embeded")


def test_an_installation_without_the_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = folder_of("embedded")
    monkeypatch.setattr(embedded, "_MODELS", tmp_path)
    assert "config.json" in missing_files("embedded")
    with pytest.raises(InputError, match=r"no config\.json: this installation left data files"):
        folder_of("embedded")
    (tmp_path / "embedded").mkdir()
    for path in whole.iterdir():
        if path.name != "model-00003-of-00004.safetensors":
            (tmp_path / "embedded" / path.name).symlink_to(path)
    assert missing_files("embedded") == ["model-00003-of-00004.safetensors"]
    with pytest.raises(InputError, match="incomplete"):
        folder_of("embedded")


# The tokenizer ------------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.text(alphabet="ab 7<>|/_\n\\{}é東🙂", max_size=30), st.sampled_from([*CONTROLS, *MARKERS]))
def test_markers_survive_it_inside_any_text(text: str, marker: str) -> None:
    written = f"{text}{marker}{text}"
    assert TOKENIZER.decode(TOKENIZER.encode(written)) == written


@pytest.mark.parametrize("marker", [*CONTROLS, *MARKERS])
def test_a_marker_is_one_token(marker: str) -> None:
    (token,) = TOKENIZER.encode(marker)
    assert TOKENIZER.encode(f"a{marker}b")[1:-1] == (token,)


def test_only_controls_and_spare_ids_are_special() -> None:
    special = set(TOKENIZER.special_tokens)
    assert special >= set(CONTROLS)
    assert not special & set(MARKERS)
    assert all(token.startswith("<|spare_") for token in special - set(CONTROLS))


@given(st.integers(min_value=0, max_value=10**12))
def test_every_digit_is_a_token(number: int) -> None:
    digits = [TOKENIZER.decode([token]) for token in TOKENIZER.encode(str(number))]
    assert digits == list(str(number))
    line = TOKENIZER.encode(f"red jars = {number} + 7")
    assert [TOKENIZER.decode([token]) for token in line] == ["red", " jars", " = ", *digits, " + ", "7"]


@pytest.mark.parametrize("lexicon", LEXICONS)
def test_every_name_of_a_quantity_is_two_words(lexicon: str) -> None:
    for name in LEXICONS[lexicon].names:
        assert len(TOKENIZER.encode(name)) == len(TOKENIZER.encode(f" {name}")) == 2, name


def test_there_are_ids_to_spare() -> None:
    spare = [token for token in TOKENIZER.special_tokens if token.startswith("<|spare_")]
    assert len(spare) >= SPARE == 64
    assert max(TOKENIZER.encode("".join(spare))) < SIZE


def test_words_it_does_not_know_are_cut_into_letters_and_bytes() -> None:
    assert len(TOKENIZER.encode(" xylophone")) > 3
    assert len(TOKENIZER.encode("東")) == 3
