"""The numbered stages with the jigsaw's defaults: what each `Jigsaw_*.py` runs."""

import runpy
import sys
from pathlib import Path
from typing import NoReturn

from captioning.cli import ArgumentParser, UserError, run
from captioning.files import ROOT


def run_stage(script: str, description: str, defaults: str) -> NoReturn:
    """Run a numbered script with `defaults` in front of the user's arguments.

    Of an argument that is given twice the last counts, so what the user gives has precedence.
    In `defaults`, {folder} is the folder `full` or `single` in that of `jigsaw/main.py`, which
    takes what the stages make, {weights} the trained file and {encoder} its name for `--encoder`.
    """
    usage = "%(prog)s [--method METHOD] [--run DIR] [what the stage takes]"
    parser = ArgumentParser(description, add_help=False, usage=usage)
    parser.add_argument(
        "--method",
        choices=("full", "single"),
        default="full",
        help="vectors of pictures: full is the solver's last dense layer, which sees all tiles; "
        "single is the trunk's pooled output on the whole picture",
    )
    parser.add_argument(
        "--run", default="runs/jigsaw", metavar="DIR", help="what jigsaw/main.py wrote"
    )
    args, rest = parser.parse_known_args()

    def main() -> None:
        if {"-h", "--help"} & set(rest):
            parser.print_help()
            print(f"\nAll else goes to {script}, which says:\n", flush=True)
            sys.argv[1:] = ["--help"]
        else:
            before = filled(defaults, args.method, Path(args.run))
            print(script, *before, *rest, flush=True)
            sys.argv[1:] = before + rest
        runpy.run_path(str(ROOT / script))["main"]()

    run(main)


def filled(defaults: str, method: str, run_folder: Path) -> list[str]:
    """The words of `defaults` for a run; its folder for the method is made.

    Raises:
        UserError: there is no such run, or no trained file in it, or more than one.
    """
    if not run_folder.is_dir():
        raise UserError(f"{run_folder}: no such folder; train with jigsaw/main.py, or give --run")
    values = {"folder": run_folder / method}
    if "{weights}" in defaults:
        pattern = "*-jigsaw.keras" if method == "full" else "*-jigsaw.weights.h5"
        found = sorted(run_folder.glob(pattern))
        if len(found) != 1:
            raise UserError(
                f"{run_folder}: holds {len(found)} files {pattern}, not one; train with "
                "jigsaw/main.py, or give another --run"
            )
        encoder = "jigsaw" if method == "full" else found[0].name.removesuffix(pattern[1:])
        values |= {"weights": found[0], "encoder": encoder}
    values["folder"].mkdir(exist_ok=True)
    return [word.format(**values) for word in defaults.split()]
