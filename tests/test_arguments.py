"""Numbers on the command line, and arguments that are declared once."""

import argparse

import pytest

from captioning.arguments import fraction, number, positive_int, seed, shared


def test_a_number_within_its_bounds_is_read():
    assert (positive_int("1"), seed("4294967295"), fraction("0")) == (1, 2**32 - 1, 0.0)
    assert number(float, above=0)("1e-3") == 0.001


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (positive_int, "0", "a whole number at least 1"),
        (seed, "4294967296", "a whole number at least 0 and below 4294967296"),
        (fraction, "1", "a number at least 0 and below 1"),
        (fraction, "nan", "a number at least 0 and below 1"),
        (number(float, above=0), "inf", "a number above 0"),
    ],
)
def test_another_number_is_refused_with_what_is_wanted(kind, text, wanted):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not {wanted}"):
        kind(text)


def test_what_is_no_number_of_the_kind_is_refused(capsys):
    parser = argparse.ArgumentParser()
    shared(parser, "--epochs")
    with pytest.raises(SystemExit):
        parser.parse_args(["--epochs", "1.0"])
    assert "--epochs: invalid int value: '1.0'" in capsys.readouterr().err


def test_a_shared_argument_takes_what_a_script_changes():
    parser = argparse.ArgumentParser()
    shared(parser, "--seed", "--epochs", default=7)

    assert vars(parser.parse_args(["--epochs", "3"])) == {"seed": 7, "epochs": 3}
