"""The samples file: what is written is read, and half a line is one sample lost, no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonflow.errors import InputError
from reasonflow.evals.samples import FILE, Sample, SampleLog, read_samples, repair


def sample(problem: str, index: int = 0, answer: str | None = "5") -> Sample:
    return Sample(id=problem, sample=index, seed=1, answer=answer, expected="5", correct=answer == "5", repairs=("r",))


def write(folder: Path, *samples: Sample) -> Path:
    log = SampleLog(folder).open()
    for one in samples:
        log.append(one)
    log.close()
    return log.path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    samples = [sample("a"), sample("a", 1), sample("b", answer=None), sample("ünïcode\u2028", answer="a\nb")]
    write(tmp_path, *samples)
    log = SampleLog(tmp_path).open()
    log.close()
    assert log.kept == tuple(samples)


def test_samples_are_on_disk_as_they_are_appended(tmp_path: Path) -> None:
    log = SampleLog(tmp_path).open()
    log.append(sample("a"))
    assert read_samples(tmp_path / FILE) == [sample("a")]
    log.close()


@given(st.data())
def test_a_cut_anywhere_loses_one_sample_at_most(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), *(sample(str(n), answer="é" * 40) for n in range(4)))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        log = SampleLog(Path(name)).open()
        assert [kept.id for kept in log.kept] == [str(n) for n in range(lines)]
        log.append(sample("next"))
        log.close()
        assert len(read_samples(path)) == lines + 1


def test_a_long_half_line_is_found_across_blocks(tmp_path: Path) -> None:
    path = write(tmp_path, sample("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    assert repair(path)
    assert path.read_bytes() == whole
    assert not repair(path)


def test_a_growing_file_is_read_up_to_its_last_whole_line_and_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, sample("a"), sample("b"))
    assert len(read_samples(path, growing=True)) == 2
    half = path.read_bytes()[:-20]
    path.write_bytes(half)
    assert [one.id for one in read_samples(path, growing=True)] == ["a"]
    assert path.read_bytes() == half
    path.write_bytes(half[:10])
    assert read_samples(path, growing=True) == []


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, sample("a"))
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "brand_new": 1}) + "\n")
    assert read_samples(path) == [sample("a")]


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"id": "a"}', "not a sample"), ("{broken", "not valid JSON"), ("[]", "instead of an object")],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path, sample("a"))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=says) as caught:
        SampleLog(tmp_path).open()
    assert f"{path}:2" in str(caught.value)


def test_a_sample_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, sample("a"), sample("a"))
    with pytest.raises(InputError, match="occurs twice"):
        read_samples(path)
