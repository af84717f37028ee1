import numpy as np
import pytest
from PIL import Image

from captioning.images.views import LEAST_AREA, view

SIDE = 40


def ramp(width: int, height: int) -> Image.Image:
    """Red tells how far to the right a pixel is, green how far down, from 0 to 200."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 200, width)
    pixels[..., 1] = np.linspace(0, 200, height)[:, None]
    return Image.fromarray(pixels)


def box_of(square: Image.Image) -> tuple[float, float, bool]:
    """Shares of width and height that a view of a ramp shows, and whether it is mirrored."""
    pixels = np.asarray(square).astype(float)
    across = pixels[:, -1, 0].mean() - pixels[:, 0, 0].mean()
    down = pixels[-1, :, 1].mean() - pixels[0, :, 1].mean()
    return abs(across) / 200, down / 200, across < 0


def test_view_0_is_the_whole_picture():
    image = ramp(80, 60)
    expected = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(view(0, "a.jpg")(image, SIDE)), np.asarray(expected))


@pytest.mark.parametrize(
    ("number", "corners"), [(1, [(197, 18), (2, 169)]), (2, [(13, 6), (153, 184)])]
)
def test_a_view_is_the_same_part_for_ever(number, corners):
    """Features of views are made on other days, and by other versions, than they are learned."""
    pixels = np.asarray(view(number, "a.jpg")(ramp(300, 200), SIDE)).astype(int)
    np.testing.assert_allclose([pixels[0, 0, :2], pixels[-1, -1, :2]], corners, atol=1)


def test_views_show_most_of_the_picture_and_are_mirrored_half_the_time():
    boxes = [box_of(view(number, "a.jpg")(ramp(300, 200), SIDE)) for number in range(1, 201)]
    areas = [width * height for width, height, _ in boxes]
    # Bilinear squares lose a little at their edges.
    assert min(areas) > LEAST_AREA - 0.05
    assert min(areas) < LEAST_AREA + 0.1
    assert max(areas) > 0.9
    assert min(width for width, _, _ in boxes) < 0.7
    assert min(height for _, height, _ in boxes) < 0.7
    assert np.mean([mirrored for *_, mirrored in boxes]) == pytest.approx(0.5, abs=0.1)


def test_a_view_follows_from_its_number_and_the_picture():
    image = ramp(80, 60)

    def pixels(number: int, name: str) -> np.ndarray:
        return np.asarray(view(number, name)(image, SIDE))

    assert np.array_equal(pixels(1, "a.jpg"), pixels(1, "a.png"))  # one image_id
    assert not np.array_equal(pixels(1, "a.jpg"), pixels(1, "b.jpg"))
    assert not np.array_equal(pixels(1, "a.jpg"), pixels(2, "a.jpg"))


def test_wide_parts_come_as_often_as_high_ones():
    """The ratio is uniform in its logarithm; of a square picture, so is width to height."""
    boxes = [box_of(view(1, f"{n}.jpg")(ramp(256, 256), 256)) for n in range(600)]
    wide = np.mean([width > height for width, height, _ in boxes])
    assert 0.44 < wide < 0.56
