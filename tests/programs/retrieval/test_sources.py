"""Where passages come from: files, datasets, rows in memory, and every way in which they can be wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from reasonflow.errors import InputError
from reasonflow.programs.retrieval import Passage, sources
from reasonflow.programs.retrieval.sources import Columns, digest, passages, twice

ROWS = [{"id": "a", "title": "A", "text": "one"}, {"id": "b", "title": "", "text": "two"}]
PASSAGES = [Passage(**row) for row in ROWS]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_all_forms_of_a_source_give_the_same(tmp_path: Path) -> None:
    file = lines(tmp_path / "rows.jsonl", *({**row, "source": "not read"} for row in ROWS))
    dataset = Columns(datasets.Dataset.from_list(ROWS), title="title", id="id")
    forms = [file, str(file), ROWS, PASSAGES, iter(PASSAGES), dataset]
    assert [list(passages(source)) for source in forms] == [PASSAGES] * len(forms)
    assert len({digest(source) for source in (file, ROWS, PASSAGES, dataset)}) == 1


@pytest.mark.parametrize("change", [{"id": "c"}, {"title": "B"}, {"text": "two "}])
def test_the_digest_sees_every_change(change: dict[str, str]) -> None:
    assert digest([ROWS[0], {**ROWS[1], **change}]) != digest(ROWS)
    assert digest(ROWS[::-1]) != digest(ROWS)


def test_title_and_id_may_be_missing(tmp_path: Path) -> None:
    file = lines(tmp_path / "rows.jsonl", {"text": "x"}, "", {"text": "", "title": None, "id": 7})
    assert list(passages(file)) == [Passage(id="line-1", text="x"), Passage(id="7", text="")]
    assert [passage.id for passage in passages([{"text": "x"}, {"text": "y"}])] == ["row-1", "row-2"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "x"}')
    assert next(passages(tmp_path / "rows.jsonl")).text == "x"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{", r"rows.jsonl:2: not valid JSON"),
        ('{"text": "\\ud800"}', r"rows.jsonl:2: not valid JSON"),
        ("[1]", r"rows.jsonl:2: a list instead of an object"),
        ({"title": "T"}, r"rows.jsonl:2: the field 'text' is missing"),
        ({"text": None}, r"rows.jsonl:2: the field 'text' is a NoneType"),
        ({"text": 3}, r"rows.jsonl:2: the field 'text' is a int"),
        ({"text": "x", "title": ["T"]}, r"rows.jsonl:2: the field 'title' is a list"),
        ({"text": "x", "id": {}}, r"rows.jsonl:2: the field 'id' is a dict"),
        ({"text": "x", "id": "a"}, r"rows.jsonl:2: the id 'a' occurs twice"),
        ('{"text": "' + "x" * 100 + '"}', r"rows.jsonl:2: the line is longer than 0 MiB"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: object, what: str) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 100)
    with pytest.raises(InputError, match=what) as raised:
        list(passages(lines(tmp_path / "rows.jsonl", {"text": "x", "id": "a"}, row)))
    assert raised.value.fix


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "\xff"}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:1: not valid JSON"):
        list(passages(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([{"text": "x"}, "a text"], "row 2: a str instead of an object"),
        ([PASSAGES[0], PASSAGES[0]], "row 2: the id 'a' occurs twice"),
        ([], "there are no passages"),
        (7, "a int holds no passages"),
        ({"text": "x"}, "a dict holds no passages"),
        (b"x", "a bytes holds no passages"),
    ],
)
def test_bad_rows_in_memory_are_named(rows: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        list(passages(rows))


def test_files_that_are_none_or_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        list(passages(tmp_path / "missing.jsonl"))
    with pytest.raises(InputError, match="cannot read"):
        list(passages(tmp_path))
    with pytest.raises(InputError, match="holds no passages"):
        list(passages(lines(tmp_path / "empty.jsonl", "", " ")))


def test_an_iterator_is_no_source_that_is_gone_through_twice() -> None:
    with pytest.raises(InputError, match="once only"):
        twice(iter(PASSAGES))
    assert twice(PASSAGES) is PASSAGES


def test_a_datasets_columns_are_named() -> None:
    dataset = datasets.Dataset.from_list([{"body": "x", "head": "T"}, {"body": "y", "head": None}])
    found = list(passages(Columns(dataset, text="body", title="head")))
    assert found == [Passage(id="0", title="T", text="x"), Passage(id="1", text="y")]
    with pytest.raises(InputError, match="no column 'text'") as raised:
        list(passages(Columns(dataset)))
    assert "body, head" in raised.value.why
    with pytest.raises(InputError, match="several splits"):
        list(passages(Columns(datasets.DatasetDict(train=dataset))))
    with pytest.raises(InputError, match="row 0 of the dataset: the field 'text' is a int"):
        list(passages(Columns(datasets.Dataset.from_list([{"text": 1}]))))


def test_a_dataset_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, config: str | None, split: str) -> Any:
        if name != "known":
            raise ConnectionError("no such dataset")
        return datasets.Dataset.from_list([{"text": f"{config} {split}"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert next(passages(Columns("known", config="en", split="test"))).text == "en test"
    with pytest.raises(InputError, match="'unknown' cannot be loaded") as raised:
        list(passages(Columns("unknown")))
    assert "no such dataset" in raised.value.why
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="needs the package datasets"):
        list(passages(Columns("known")))
