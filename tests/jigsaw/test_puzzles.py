"""Puzzles against naive loops: where tiles come from, their normalisation, batches of them."""

import numpy as np
import pytest

from captioning.cli import UserError
from jigsaw.DataGenerator import DataGenerator
from jigsaw.image_preprocessing.image_transform import JigsawCreator, default_sizes
from tests.pretext_tools import patterns

PERMUTATIONS = np.array([np.roll(np.arange(9), n) for n in range(9)], np.uint8)


def creator(size: int = 96, **changes) -> JigsawCreator:
    """For pictures of 96 px: a crop of 84, cells of 28, tiles of 24."""
    return JigsawCreator(**({"permutations": PERMUTATIONS, **default_sizes(size, 9)} | changes))


def positions(count: int, size: int = 96) -> np.ndarray:
    """Pictures whose red is the row and whose green and blue are the column of the pixel."""
    row, column = np.mgrid[:size, :size].astype(np.uint8)
    return np.broadcast_to(np.stack([row, column, column], axis=-1), (count, size, size, 3))


def grey_images(count: int, size: int = 96) -> np.ndarray:
    return np.repeat(patterns(count, size)[..., :1], 3, axis=-1)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- cutting ---------------------------------------------------------------------------------


def test_tiles_are_pieces_of_their_cells_in_the_order_of_the_permutation():
    one = creator(channel_shift=0, grey_share=0)
    images = positions(200)
    tiles, numbers = one.cut(images, random())
    np.testing.assert_array_equal(images, positions(200))  # they are not changed
    assert len(set(numbers.tolist())) == 9
    jitters, crops = set(), set()
    for puzzle, number in zip(tiles, numbers, strict=True):
        corners = puzzle[:, 0, 0, :2].astype(int)
        for tile, (top, left) in zip(puzzle, corners, strict=True):
            np.testing.assert_array_equal(tile, positions(1)[0, top : top + 24, left : left + 24])
        cells = np.stack(np.divmod(PERMUTATIONS[number], 3), axis=1) * 28
        inside = corners - cells  # the crop's corner and the tile's place in its cell
        assert (np.ptp(inside, axis=0) <= 4).all()
        crops.add(tuple(inside.min(axis=0)))
        jitters |= {tuple(one) for one in inside - inside.min(axis=0)}
    assert len(crops) > 50
    assert {(0, 4), (4, 0), (0, 0)} <= jitters


def test_the_crop_reaches_both_edges_and_no_further():
    one = creator(crop_size=88, cell_size=28, tile_size=28, channel_shift=0, grey_share=0)
    tops = one.cut(positions(300), random())[0][..., 0].min(axis=(1, 2, 3))
    assert set(tops.tolist()) == set(range(0, 96 - 88 + 1))


def test_channels_are_shifted_by_up_to_two_pixels_all_tiles_of_a_picture_alike():
    tiles, _ = creator(grey_share=0).cut(positions(300), random())
    apart = tiles[:, :, 0, 0, 1].astype(int) - tiles[:, :, 0, 0, 2]  # columns of green and blue
    assert (apart == apart[:, :1]).all()
    assert set(apart[:, 0].tolist()) == set(range(-4, 5))


def test_pictures_without_colour_are_left_alone():
    tiles, _ = creator(grey_share=0).cut(grey_images(30), random())
    assert (np.ptp(tiles, axis=-1) == 0).all()
    one_red_pixel = grey_images(30)
    one_red_pixel[:, 50, 41] = (255, 0, 0)
    tiles, _ = creator(grey_share=0).cut(one_red_pixel, random())
    assert (np.ptp(tiles, axis=-1).max(axis=(1, 2, 3)) > 20).sum() > 20


def test_a_share_of_pictures_turns_grey():
    images = np.broadcast_to(np.uint8((200, 100, 50)), (400, 96, 96, 3))
    tiles, _ = creator(grey_share=0.3).cut(images, random())
    grey = (tiles == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all(axis=(1, 2, 3, 4))
    coloured = (tiles == (200, 100, 50)).all(axis=(1, 2, 3, 4))
    assert (grey ^ coloured).all()
    assert 90 < grey.sum() < 150


def test_centre_corners_lie_in_order_in_the_middle_of_their_cells():
    corners = [[6 + 28 * row + 2, 6 + 28 * column + 2] for row in range(3) for column in range(3)]
    assert creator().centre_corners().tolist() == corners


@pytest.mark.parametrize(
    ("size", "tiles", "expected"),
    [
        (256, 9, [256, 225, 75, 64]),
        (84, 9, [84, 75, 25, 21]),
        (256, 4, [256, 226, 113, 96]),
        (256, 16, [256, 224, 56, 48]),
    ],
)
def test_sizes_in_the_papers_proportions_work(size, tiles, expected):
    sizes = default_sizes(size, tiles)
    assert [*sizes.values()] == expected
    cut, _ = JigsawCreator(np.arange(tiles)[None], **sizes).cut(patterns(2, size), random())
    assert cut.shape == (2, tiles, expected[-1], expected[-1], 3)


def test_sizes_that_are_given_decide_the_others():
    assert [*default_sizes(256, 9, crop=192).values()] == [256, 192, 64, 55]
    assert [*default_sizes(256, 9, crop=192, cell=60, tile=60).values()] == [256, 192, 60, 60]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile_size": 29}, "tiles of 29 px, 3 cells of 28 px"),
        ({"cell_size": 29}, "3 cells of 29 px, a crop of 84 px"),
        ({"crop_size": 93}, "a crop of 93 px, pictures of 96 px less 2"),
        ({"tile_size": 0}, "tiles of 0 px"),
        ({"permutations": np.arange(8)[None]}, "8 tiles make no square"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        creator(**changes)


# ---- batches ---------------------------------------------------------------------------------


def numbered(count: int) -> np.ndarray:
    """Pictures of 48 px whose red is their number."""
    images = patterns(count, 48)
    images[..., 0] = np.arange(count)[:, None, None]
    return images


def generator(count: int = 50, **changes) -> DataGenerator:
    arguments = {"batch_size": 8, "seed": 1} | changes
    return DataGenerator(numbered(count), creator(48, grey_share=0, channel_shift=1), **arguments)


def images_of(puzzles: DataGenerator) -> list[int]:
    return [int(red) for n in range(len(puzzles)) for red in puzzles[n][0][:, 0, 0, 0, 0]]


def test_an_epoch_shows_each_picture_once_in_whole_batches():
    puzzles = generator()
    assert len(puzzles) == 6
    first = images_of(puzzles)
    assert len(set(first)) == 48
    puzzles.start_epoch(1)
    assert images_of(puzzles) != first
    tiles, numbers = puzzles[0]
    assert tiles.shape == (8, 9, 12, 12, 3)
    assert (tiles.dtype, numbers.dtype) == (np.uint8, np.int32)


def test_validation_puzzles_are_all_pictures_and_always_the_same():
    puzzles = generator(10, shuffle=False)
    first = [puzzles[n] for n in range(2)]
    puzzles.on_epoch_end()
    assert [len(numbers) for _, numbers in first] == [8, 2]
    assert images_of(puzzles) == list(range(10))
    np.testing.assert_array_equal(first[1][0], puzzles[1][0])


def test_a_puzzle_follows_from_seed_epoch_and_number():
    one, other = generator(), generator()
    for puzzles in (one, other):
        puzzles.start_epoch(3)
    other[0]  # the order of asking does not matter
    np.testing.assert_array_equal(one[4][0], other[4][0])
    other.start_epoch(3, first=4)
    assert len(other) == 2
    np.testing.assert_array_equal(one[4][0], other[0][0])
    other.start_epoch(4)
    assert not np.array_equal(one[4][0], other[4][0])
    assert not np.array_equal(one[4][0], generator(seed=2)[4][0])


def test_limit_draws_pictures_from_everywhere():
    found = sorted(images_of(generator(limit=16)))
    assert len(set(found)) == 16
    assert found[0] < 12 and found[-1] > 38
