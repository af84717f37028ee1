"""What comes to a process that stays: pictures in a folder, and names on standard input."""

import io
import os

import pytest

from captioning.output import watching


@pytest.fixture
def at_each_look(monkeypatch):
    """What happens between looks into the folder, one function a look; time passes with them."""
    events, clock = [], [0.0]

    def sleep(seconds):
        clock[0] += seconds
        events.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock[0])
    return events


def test_a_picture_that_is_being_written_is_waited_for(tmp_path, at_each_look):
    def write():
        with open(tmp_path / "new.jpg", "ab") as file:
            file.write(b"part")

    at_each_look += [write] * 5 + [lambda: None] * 10

    assert next(watching.appearing(tmp_path, {})) == str(tmp_path / "new.jpg")
    assert (tmp_path / "new.jpg").read_bytes() == b"part" * 5


def test_what_was_there_does_not_count_until_it_changes(tmp_path, at_each_look):
    (tmp_path / "old.jpg").write_bytes(b"old")
    known = watching.snapshot(tmp_path)
    at_each_look += [lambda: None] * 9 + [lambda: (tmp_path / "old.jpg").write_bytes(b"newer")]
    at_each_look += [lambda: None] * 9

    assert next(watching.appearing(tmp_path, known)) == str(tmp_path / "old.jpg")
    assert len(at_each_look) < 9


def test_names_are_lines_whatever_bytes_they_have():
    stream = io.BytesIO(b"a b.jpg\r\n\ncaf\xc3\xa9.jpg\n\xff.jpg")

    assert list(watching.named(stream)) == ["a b.jpg", "café.jpg", os.fsdecode(b"\xff.jpg")]
