"""Pictures of every kind of source, those that cannot be read, and the order of batches."""

import shutil
from itertools import chain, islice
from pathlib import Path

import h5py
import numpy as np
import pytest

from captioning.cli import UserError
from contrastive.data import batches, epoch_order, load_images
from tests.conftest import make_zip
from tests.pretext_tools import encoded, patterns, write_images


def make_source(kind: str, members: dict[str, bytes], folder: Path) -> str | Path:
    """A new folder of these files, or an archive of them."""
    folder.mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    if kind == "zip":
        return make_zip(folder.with_suffix(".zip"), members)
    return folder if kind == "folder" else shutil.make_archive(str(folder), kind, folder)


@pytest.fixture
def members() -> dict[str, bytes]:
    return {f"{n:02d}.png": encoded(pixels) for n, pixels in enumerate(patterns(6, 16))}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar", "hdf5"])
def test_every_source_gives_the_same_pixels(kind, members, tmp_path):
    if kind == "hdf5":
        path = tmp_path / "pictures.hdf5"
        with h5py.File(path, "w") as file:
            file["labels"] = np.arange(6)
            for split, rows in (("train", slice(4)), ("val", slice(4, 6))):
                file[f"{split}_img"] = patterns(6, 16)[rows]
                file[f"{split}_names"] = list(members)[rows]
    else:
        path = make_source(kind, members | {"notes.txt": b"no picture"}, tmp_path / "pictures")
    images = load_images([path], 16)
    np.testing.assert_array_equal(images.pixels, patterns(6, 16))
    assert images.unreadable == []
    without = load_images([path], 16, exclude={"01.png", "04"}).pixels
    np.testing.assert_array_equal(without, patterns(6, 16)[[0, 2, 3, 5]])


def test_several_sources_size_and_limit(members, tmp_path):
    folder = write_images(tmp_path / "folder", 5)
    archive = make_zip(tmp_path / "more.zip", members)
    both = load_images([folder, archive], 8)
    assert both.pixels.shape == (11, 8, 8, 3)
    assert both.sources.tolist() == [0] * 5 + [1] * 6
    assert len(load_images([folder, archive], 8, limit=7).pixels) == 7


@pytest.mark.parametrize("names", [None, [1, 2], ["only one"], [b"\xff", b"a"]])
def test_an_hdf5_file_without_names_excludes_nothing_in_silence(names, tmp_path):
    with h5py.File(tmp_path / "some.hdf5", "w") as file:
        file["pictures"] = patterns(2, 16)
        if names:
            kind = h5py.string_dtype() if isinstance(names[0], str | bytes) else "i4"
            file.create_dataset("pictures_names", data=names, dtype=kind)
    with pytest.raises(UserError, match=r"some\.hdf5: .*name"):
        load_images([tmp_path / "some.hdf5"], 16, exclude={"a"})
    assert len(load_images([tmp_path / "some.hdf5"], 16).pixels) == 2


def test_broken_pictures_are_skipped_and_named(members, tmp_path):
    path = make_zip(tmp_path / "some.zip", members | {"02.png": b"broken", "05.png": b""})
    images = load_images([path], 16)
    np.testing.assert_array_equal(images.pixels, patterns(6, 16)[[0, 1, 3, 4]])
    assert [m.split(": ")[1] for m in images.unreadable] == ["02.png", "05.png"]
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 255  # in the first member's data: its checksum is wrong now
    path.write_bytes(damaged)
    assert len(load_images([path], 16).unreadable) == 3


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_too_large_for_a_photograph_is_not_read(kind, members, tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.images.sources.LARGEST_FILE", 5000)
    path = make_source(kind, members | {"large.png": bytes(5001)}, tmp_path / "some")

    images = load_images([path], 16)

    assert len(images.pixels) == 6
    [message] = images.unreadable
    assert "large.png" in message
    assert "too large for a photograph" in message


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((1, 40_000, 40_000, 3), (1, 8, 8, 3)), ((20_000, 128, 128, 3), (20_000, 128, 128, 3))],
)
def test_hostile_hdf5_is_refused(shape, chunks, tmp_path):
    with h5py.File(tmp_path / "evil.hdf5", "w") as file:
        file.create_dataset("pictures", shape, "u1", chunks=chunks)
    with pytest.raises(UserError, match=r"evil\.hdf5: refused, because .*too large"):
        load_images([tmp_path / "evil.hdf5"], 8)


def test_mostly_broken_fails(members, tmp_path):
    broken = {f"x{n}.jpg": b"broken" for n in range(7)}
    with pytest.raises(UserError, match="7 of 13"):
        load_images([make_zip(tmp_path / "a.zip", members | broken)], 16)


# ---- larger than memory ----------------------------------------------------------------------


@pytest.fixture
def spilled(members, tmp_path):
    """An archive, and what makes its pictures go to a file."""
    path = make_zip(tmp_path / "some.zip", members | {"broken.png": b"broken"})
    return path, {"memory_limit": 1e-9, "spill": tmp_path / "pictures.raw"}


def test_larger_than_memory_streams_from_a_file_that_is_made_once(spilled, monkeypatch):
    path, options = spilled
    in_memory, spilled_images = load_images([path], 16), load_images([path], 16, **options)
    monkeypatch.setattr("contrastive.data.tqdm", None)  # nothing can be decoded

    again = load_images([path], 16, **options, reuse=True)

    assert isinstance(spilled_images.pixels, np.memmap)
    for images in (spilled_images, again):
        for found, wanted in zip(images, in_memory, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("change", ["another file", "excluded", "not asked", "no record", "cut"])
def test_other_pictures_are_decoded_anew(change, spilled, members):
    path, options = spilled
    load_images([path], 16, **options)
    options["spill"].write_bytes(bytes(options["spill"].stat().st_size - (change == "cut")))
    if change == "another file":
        make_zip(path, members)
    elif change == "no record":
        options["spill"].with_suffix(".json").unlink()
    exclude = {"05"} if change == "excluded" else ()

    again = load_images([path], 16, **options, exclude=exclude, reuse=change != "not asked")

    np.testing.assert_array_equal(again.pixels, patterns(6, 16)[: len(again.pixels)])


# ---- batches ---------------------------------------------------------------------------------


def numbered(count: int) -> np.ndarray:
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3))


def seen(stream, steps: int) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for (batch,) in islice(stream, steps)]


def test_an_epoch_shows_each_picture_once_and_epochs_differ():
    order = seen(batches(numbered(23), 5, seed=3), 8)
    first, second = (sorted(chain(*part)) for part in (order[:4], order[4:]))
    assert len(set(first)) == len(set(second)) == 20
    assert order[:4] != order[4:]


@pytest.mark.parametrize("weights", [None, np.repeat([1.0, 3.0], [13, 10])])
def test_batches_go_on_where_they_stopped(weights):
    options = {"seed": 3, "weights": weights}
    again = batches(numbered(23), 5, step=6, **options)
    assert seen(batches(numbered(23), 5, **options), 11)[6:] == seen(again, 5)


def test_pictures_of_a_weight_come_so_much_more_often():
    """Ten of weight 1, ten of 2.5 and ten of 0: over a hundred epochs, and in each up to one."""
    weights = np.repeat([1.0, 2.5, 0.0], 10)

    epochs = [epoch_order(30, 3, epoch, weights) for epoch in range(100)]

    counts = np.array([np.bincount(order, minlength=30) for order in epochs])
    expected = weights * 30 / weights.sum()
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=0.2)
    assert (np.abs(counts - expected) < 1).all()
    assert (counts.sum(axis=1) == 30).all()
    neighbours = np.mean([np.mean(order[1:] == order[:-1]) for order in epochs])
    assert neighbours < 0.1  # the same picture's repeats do not follow each other


def test_processes_share_a_batch():
    whole = seen(batches(numbered(20), 6, seed=1), 5)
    halves = [seen(batches(numbered(20), 6, seed=1, portion=(n, 2)), 5) for n in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
