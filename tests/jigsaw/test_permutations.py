"""Sets of permutations: the greedy choice, the script and the reader."""

import itertools

import numpy as np
import pytest

from captioning.cli import UserError
from jigsaw.permutations import all_permutations, distances, greedy, read_permutations
from tests.conftest import assert_refused, run_script

SCRIPT = "jigsaw/maximal_hamming.py"


def naive_distances(rows) -> list[int]:
    return [
        sum(a != b for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(rows, 2)
    ]


def test_all_permutations_are_all():
    rows = {tuple(row) for row in all_permutations(5).tolist()}
    assert rows == set(itertools.permutations(range(5)))


def test_distances_against_a_loop():
    rows = all_permutations(4)[::3]
    expected = naive_distances(rows.tolist())
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


@pytest.mark.parametrize(
    ("count", "selection", "mean", "least"),
    [(100, "mean", 8.07, 1), (100, "min", 8.07, 6), (1000, "min", 8.0, 5)],
)  # fmt: skip
def test_quality_of_the_sets_that_the_script_writes(count, selection, mean, least, tmp_path):
    result = run_script(
        SCRIPT, count, "--selection", selection, "--seed", 7, "--output", "set.txt", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    rows = np.loadtxt(tmp_path / "set.txt", dtype=int)
    assert np.array_equal(np.sort(rows, axis=1), np.tile(np.arange(9), (count, 1)))
    found = distances(rows)
    assert found[0] >= mean
    assert found[1] >= least
    assert f"mean distance {found[0]:.3f}, minimum {found[1]}" in result.stdout


def test_a_bare_number_and_a_seed_that_matters(tmp_path):
    sets = []
    for seed in (1, 1, 2):
        result = run_script(SCRIPT, 10, "--seed", seed, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        sets.append((tmp_path / "permutations_10.txt").read_text())
    assert sets[0] == sets[1] != sets[2]


def test_all_24_of_4_tiles_and_a_sample_of_16(tmp_path):
    for tiles, count in ((4, 24), (16, 50)):
        result = run_script(SCRIPT, count, "--tiles", tiles, "--output", "set.txt", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert len(read_permutations(tmp_path / "set.txt", tiles)) == count


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("25", "--tiles", "4"), ("4 tiles have only 24 permutations",)),
        (("100", "--tiles", "4"), ("only 24",)),
        (("9", "--tiles", "1"), ("--tiles 1",)),
        (("0",), ("'0' is not a whole number",)),
        (("9", "--output", "nowhere/set.txt"), ("nowhere/set.txt", "cannot write")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    assert_refused(run_script(SCRIPT, *arguments, cwd=tmp_path), *parts)


def test_reader_takes_what_numpy_writes(tmp_path):
    rows = all_permutations(4)[:7]
    np.savetxt(tmp_path / "set.txt", rows, header="of 4 tiles")
    assert np.array_equal(read_permutations(tmp_path / "set.txt", 4), rows)
    assert np.array_equal(read_permutations(tmp_path / "set.txt", 4, 3), rows[:3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 2 3\n1 0 2 3\n0 1 2 3\n", "line 3 repeats line 1"),
        ("0 1 2 3\n0 1 1 3\n", "line 2 is no permutation of 0 to 3"),
        ("1 2 3 4\n2 1 3 4\n", "line 1 is no permutation"),
        ("0 1 2 3\n0.5 1 2 3\n", "line 2 is no permutation"),
        ("0 1 2\n", "line 1 has 3 tiles, but the puzzles have 4"),
        ("0 1 2 x\n", "line 1 is not a row of numbers"),
        ("", "holds 0 permutations"),
    ],
)
def test_reader_refuses(text, message, tmp_path):
    (tmp_path / "set.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_permutations(tmp_path / "set.txt", 4)


def test_reader_refuses_more_than_there_are(tmp_path):
    np.savetxt(tmp_path / "set.txt", all_permutations(4), fmt="%d")
    with pytest.raises(UserError, match="holds 24 permutations, not 25"):
        read_permutations(tmp_path / "set.txt", 4, 25)
