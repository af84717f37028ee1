"""Reading a file of pictures again: what is refused, and the digest that tells two files apart."""

import h5py
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.images.sources import open_sources
from jigsaw.picture_sets import SPLITS, _Draft, convert, digest, open_split
from tests.pretext_tools import write_pictures


def test_reading_refuses_what_is_no_file_of_pictures(tmp_path):
    write_pictures(tmp_path / "pictures", 10)
    source = open_sources([tmp_path / "pictures"])
    convert(source, tmp_path / "all.hdf5", size=16, splits=(0.6, 0.2, 0.2), seed=0)
    whole = (tmp_path / "all.hdf5").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["train_img"] = np.zeros((3, 8, 8), np.uint8)
    for name, message in [
        ("cut.hdf5", "cut short"), ("none.hdf5", "does not exist"), ("other.hdf5", "not uint8"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            open_split(tmp_path / name, "train")
    with pytest.raises(UserError, match="has no 'val_img'"):
        open_split(tmp_path / "other.hdf5", "val")


HOSTILE = {
    "link": lambda file: file.update(train_img=h5py.ExternalLink("/etc/hostname", "/x")),
    "in other files": lambda file: file.create_dataset(
        "train_img", (4, 8, 8, 3), "u1", external=[("/etc/hostname", 0, 768)]),
    "claims": lambda file: file.create_dataset(
        "train_img", (10**6, 64, 64, 3), "u1", chunks=(1, 64, 64, 3)),
}  # fmt: skip


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_file_that_points_out_of_itself_or_claims_too_much_is_refused(reason, tmp_path):
    with h5py.File(tmp_path / "evil.hdf5", "w") as file:
        HOSTILE[reason](file)
    with pytest.raises(UserError, match=rf"evil\.hdf5: refused, because .*{reason}"):
        open_split(tmp_path / "evil.hdf5", "train")


def test_a_draft_is_looked_at_before_a_run_goes_on_with_it(tmp_path):
    draft = _Draft(tmp_path / "all.hdf5.parts", {"size": 8})
    draft.begin([4, 0, 0])
    with h5py.File(draft.pictures, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/x")
    with pytest.raises(UserError, match="refused"):
        _Draft(tmp_path / "all.hdf5.parts", {"size": 8}).resume()


def test_the_digest_tells_other_pictures_and_other_splits(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3)).astype(np.uint8)

    def digest_of(*splits: np.ndarray) -> str:
        with h5py.File(tmp_path / "made.hdf5", "w") as file:
            for split, chosen in zip(SPLITS, splits, strict=True):
                file[f"{split}_img"] = chosen
        return digest(tmp_path / "made.hdf5")

    first = digest_of(pictures[:200], pictures[200:250], pictures[250:])

    assert digest_of(pictures[:200], pictures[200:250], pictures[250:]) == first
    assert digest_of(pictures[:200], pictures[250:], pictures[200:250]) != first
    assert digest_of(pictures[100:], pictures[:50], pictures[50:100]) != first
    assert digest_of(pictures[:0], pictures[:0], pictures[:0]) != first
