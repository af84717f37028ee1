import io

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.images import UnreadableImage, decode_batches, list_images, load_rgb

ORANGE = (204, 153, 51)  # one of the palette that Pillow converts to


def quarters() -> np.ndarray:
    """A picture whose four quarters differ, 40 wide and 20 high."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, :20], pixels[:10, 20:] = (255, 0, 0), (0, 255, 0)
    pixels[10:, :20], pixels[10:, 20:] = (0, 0, 255), (255, 255, 255)
    return pixels


@pytest.mark.parametrize(
    "mode, suffix",
    [("RGB", "jpg"), ("CMYK", "jpg"), ("RGB", "png"), ("P", "png"), ("P", "gif"), ("RGB", "webp"),
     ("RGB", "bmp"), ("CMYK", "tif"), ("RGBA", "png")],
)  # fmt: skip
def test_every_colour_mode_gives_its_colour(tmp_path, mode, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (16, 16), ORANGE).convert(mode).save(path)
    assert np.abs(load_rgb(path).astype(int) - ORANGE).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # How a camera stores the upright picture under each orientation tag.
    stored = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1], 5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1), 7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }[orientation](quarters())  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(load_rgb(path), quarters())


@pytest.mark.parametrize("value, expected", [(0, 0), (32768, 128), (65535, 255)])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, value, expected):
    pixels = np.full((4, 4), value, np.uint16)
    pixels[0, 0] = 65535
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    assert abs(int(load_rgb(tmp_path / "grey.png")[3, 3, 0]) - expected) <= 1


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_rgb(tmp_path / "clear.png") == 255).all()


def test_palette_with_transparent_entry_lies_over_white(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "palette.png", transparency=1)
    assert (load_rgb(tmp_path / "palette.png") == 255).all()


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert load_rgb(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2)])
def test_any_shape_is_squashed_to_the_square(tmp_path, size):
    Image.new("RGB", size, ORANGE).save(tmp_path / "shape.png")
    pixels = load_rgb(tmp_path / "shape.png", 32)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - ORANGE).max() <= 1


def test_jpeg_cut_anywhere_is_refused_or_read(tmp_path):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    whole = buffer.getvalue()
    path = tmp_path / "cut.jpg"
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(UnreadableImage, match=r"cut\.jpg"):
            load_rgb(path)


@pytest.mark.parametrize("content, reason", [(b"", "empty"), (b"hello", "not a picture")])
def test_what_is_no_picture_is_named(tmp_path, content, reason):
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason):
        load_rgb(path)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    with pytest.raises(UnreadableImage, match="too many pixels"):
        load_rgb(tmp_path / "bomb.png")


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="holds no picture"):
        list_images([tmp_path])


def test_batches_keep_order_and_report_what_they_leave_out(tmp_path):
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[-1])
    paths[3].write_bytes(b"")

    batches = list(decode_batches(paths, 8, 3))

    assert [path for read, _, _ in batches for path in read] == paths[:3] + paths[4:]
    red = [int(picture[0, 0, 0]) for _, pixels, _ in batches for picture in pixels]
    assert red == [0, 1, 2, 4, 5, 6]
    assert ["3.png" in str(error) for _, _, errors in batches for error in errors] == [True]
