"""`tools/probe.py`: what each stage of an encoder tells of captions' words."""

import pytest

from captioning.encoders.table import build_network
from captioning.encoders.weights import save_encoder
from tests.conftest import assert_refused, run_script
from tests.pretext_tools import write_images
from tools import probe

GIVEN = ("--encoder", "alexnet", "--weights", "a.weights.h5", "--images", "images")
GIVEN += ("--captions", "captions.txt", "--split", "held_out.txt")


@pytest.fixture
def folder(tmp_path):
    """An AlexNet, and 44 pictures with a caption each, four of which are held out."""
    names = [path.name for path in sorted(write_images(tmp_path / "images", 44).iterdir())]
    colours = [("red", "green", "blue")[row % 3] for row in range(44)]
    lines = [f"{name}#0\ta {of} dog\n" for name, of in zip(names, colours, strict=True)]
    (tmp_path / "captions.txt").write_text("".join(lines))
    (tmp_path / "held_out.txt").write_text("\n".join(names[::11]))
    recipe = {"encoder": "alexnet", "preprocessing": "squash(64)|standardized"}
    save_encoder(build_network("alexnet"), tmp_path / "a.weights.h5", recipe)
    return tmp_path


@pytest.mark.slow
def test_a_line_for_each_stage(folder, monkeypatch, call_main, capsys):
    monkeypatch.chdir(folder)

    call_main(probe.main, *GIVEN)

    first, *stages = capsys.readouterr().out.splitlines()
    assert first.endswith("4 images of 64 px, fitted on 40:")
    assert [line.split(":")[0] for line in stages] == [f"stage {n}" for n in (1, 2, 3, 4)]
    assert all(line.endswith("%") for line in stages)


def test_a_split_of_other_images_is_refused(folder):
    (folder / "held_out.txt").write_text("elsewhere.jpg\n")
    result = run_script("tools/probe.py", *GIVEN, cwd=folder)
    assert_refused(result, "0 of these are held out")
