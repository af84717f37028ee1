"""Sets of permutations: the greedy choice, the script and the reader."""

import itertools
from functools import partial

import numpy as np
import pytest

from captioning.cli import UserError
from jigsaw.permutations import all_permutations, distances, greedy, read_permutations
from tests.conftest import assert_refused, run_script, succeed

SCRIPT = "jigsaw/maximal_hamming.py"


def test_all_permutations_are_all():
    rows = {tuple(row) for row in all_permutations(5).tolist()}
    assert rows == set(itertools.permutations(range(5)))


def test_distances_against_a_loop():
    rows = all_permutations(4)[::3]
    pairs = itertools.combinations(rows.tolist(), 2)
    expected = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairs]
    assert distances(rows) == (pytest.approx(np.mean(expected)), min(expected))


@pytest.mark.parametrize("selection", ["mean", "min"])
def test_every_choice_is_the_best_there_is(selection):
    candidates = all_permutations(5)
    chosen = greedy(candidates, 12, selection, seed=3).tolist()
    for number in range(1, len(chosen)):

        def score(row, before=chosen[:number]):
            apart = [sum(a != b for a, b in zip(row, other, strict=True)) for other in before]
            return sum(apart) if selection == "mean" else (min(apart), sum(apart))

        best = max(score(row) for row in candidates.tolist() if row not in chosen[:number])
        assert score(chosen[number]) == best


def test_greedy_chooses_no_row_twice_and_ends_when_there_are_no_more():
    candidates = np.concatenate([all_permutations(3)] * 2)
    assert len(np.unique(greedy(candidates, 6, "mean"), axis=0)) == 6
    with pytest.raises(ValueError, match="only 6"):
        greedy(candidates, 7, "mean")


def test_quality_of_the_sets_that_the_script_writes(tmp_path):
    for selection, least in (("mean", 1), ("min", 6)):
        given = ("--selection", selection, "--seed", 7, "--output", "set.txt")
        said = succeed(run_script(SCRIPT, 100, *given, cwd=tmp_path))
        rows = np.loadtxt(tmp_path / "set.txt", dtype=int)
        assert np.array_equal(np.sort(rows, axis=1), np.tile(np.arange(9), (100, 1)))
        found = distances(rows)
        assert found[0] >= 8.07
        assert found[1] >= least
        assert f"mean distance {found[0]:.3f}, minimum {found[1]}" in said


def test_a_bare_number_and_a_seed_that_matters(tmp_path):
    sets = []
    for seed in (1, 1, 2):
        succeed(run_script(SCRIPT, 10, "--seed", seed, cwd=tmp_path))
        sets.append((tmp_path / "permutations_10.txt").read_text())
    assert sets[0] == sets[1] != sets[2]


def test_all_24_of_4_tiles_and_a_sample_of_16(tmp_path):
    for tiles, count in ((4, 24), (16, 50)):
        given = (count, "--tiles", tiles, "--output", "set.txt")
        succeed(run_script(SCRIPT, *given, cwd=tmp_path))
        assert len(read_permutations(tmp_path / "set.txt", tiles)) == count


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("25", "--tiles", "4"), ("--permutations 25", "only 24 of 4 tiles")),
        (("9", "--tiles", "1"), ("--tiles", "'1' is not a whole number at least 2")),
        (("9", "--output", "nowhere/set.txt"), ("nowhere/set.txt", "cannot write")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    assert_refused(run_script(SCRIPT, *arguments, cwd=tmp_path), *parts)


# ---- reading ---------------------------------------------------------------------------------

ROWS = all_permutations(4)[:7]


@pytest.mark.parametrize(("first", "kind"), [(1, "int64"), (0, "uint8"), (1, "float32")])
@pytest.mark.parametrize("write", [np.save, partial(np.savetxt, header="of 4 tiles")])
def test_reader_takes_what_numpy_writes_whatever_its_name(write, first, kind, tmp_path):
    with open(tmp_path / "set.any", "wb") as file:
        write(file, (ROWS + first).astype(kind))
    rows = read_permutations(tmp_path / "set.any", 4)
    assert rows.dtype == np.uint8
    assert np.array_equal(rows, ROWS)
    assert np.array_equal(read_permutations(tmp_path / "set.any", 4, 3), ROWS[:3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 1 2 3\n1 0 2 3\n0 1 2 3\n", "has a permutation more than once"),
        ("0 1 2 3\n0 1 1 3\n", "row 2 is no permutation of 0 to 3"),
        ("1 2 3 4\n2 1 3 5\n", "row 2 is no permutation of 1 to 4"),
        ("0 1 2 3\n0.5 1 2 3\n", "row 2 is no permutation"),
        ("0 1 2\n1 0 2\n", r"is not rows of 4 tiles; give --tiles, .*\(holds \(2, 3\) numbers"),
        ("0 1 2 3\n0 1 2\n", "is not rows of 4 tiles"),
        ("0 1 2 x\n", "is not rows of 4 tiles"),
        ("", "is not rows of 4 tiles"),
        (np.array([[0, "one"]], object), "is not rows of 4 tiles"),  # and nothing is unpickled
        (np.arange(5), "is not rows of 4 tiles"),
        (np.zeros((2, 2, 4)), "is not rows of 4 tiles"),
        (np.zeros((0, 4)), "holds 0 permutations, not 2"),
        (np.full((2, 4), np.nan), "row 1 is no permutation"),
    ],
)
def test_reader_refuses(content, message, tmp_path):
    path = tmp_path / "set.npy"
    if isinstance(content, str):
        path.write_text(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UserError, match=f"set.npy: .*{message}"):
        read_permutations(path, 4)


def test_reader_names_an_archive_and_a_cut_array_for_what_they_are(tmp_path):
    np.savez(tmp_path / "set.npz", ROWS)
    with pytest.raises(UserError, match="unpack an archive"):
        read_permutations(tmp_path / "set.npz", 4)
    np.save(tmp_path / "set.npy", ROWS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "set.npy").read_bytes()[:-3])
    with pytest.raises(UserError, match="is not rows of 4 tiles"):
        read_permutations(tmp_path / "cut.npy", 4)
