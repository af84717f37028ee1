"""Where copies of pictures go."""

import pytest

from captioning.cli import UserError
from captioning.output.copies import plan


def test_copies_lie_in_the_sub_folders_of_the_pictures(tmp_path):
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    pictures = [given / "a" / "1.jpg", given / "b" / "1.jpg", tmp_path / "other" / "2.jpg"]

    planned = plan(out, [given, pictures[2]], pictures)

    assert list(planned.values()) == [out / "a" / "1.jpg", out / "b" / "1.jpg", out / "2.jpg"]


def test_two_pictures_with_one_copy_are_refused_before_anything_is_made(tmp_path):
    pictures = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg"]

    with pytest.raises(UserError, match="both copies would be"):
        plan(tmp_path / "out", pictures, pictures)

    assert not (tmp_path / "out").exists()
