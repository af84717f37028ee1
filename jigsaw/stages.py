"""The numbered stages with the jigsaw's defaults: what each `Jigsaw_*.py` runs."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from captioning.cli import ArgumentParser, UserError, run
from captioning.files import ROOT

METHODS = ("full", "single")


def run_stage(
    script: str, description: str, defaults: Callable[[str, Path], list[str | Path]]
) -> NoReturn:
    """Run a numbered script with `defaults(method, run)` in front of the user's arguments.

    Of an argument that is given twice the last counts, so what the user gives has precedence.
    `run` is the folder of `jigsaw/main.py`; what stage 1 and those after it make of it lies in
    `run/full` or `run/single`.
    """
    usage = "%(prog)s [--method METHOD] [--run DIR] [what the stage takes]"
    parser = ArgumentParser(description, add_help=False, usage=usage)
    add = parser.add_argument
    add(
        "--method", choices=METHODS, default="full",
        help="vectors of pictures: full is the solver's last dense layer, which sees all tiles; "
        "single is the trunk's pooled output on the whole picture",
    )  # fmt: skip
    add("--run", default="runs/jigsaw", metavar="DIR", help="what jigsaw/main.py wrote")
    args, rest = parser.parse_known_args()

    def main() -> None:
        if {"-h", "--help"} & set(rest):
            parser.print_help()
            print(f"\nAll else goes to {script}, which says:\n", flush=True)
            sys.argv[1:] = ["--help"]
        else:
            folder = Path(args.run)
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: no such folder; train with jigsaw/main.py, or give --run"
                )
            (folder / args.method).mkdir(exist_ok=True)
            before = [str(word) for word in defaults(args.method, folder)]
            print(script, *before, *rest, flush=True)
            sys.argv[1:] = before + rest
        runpy.run_path(str(ROOT / script))["main"]()

    run(main)


def trained(method: str, folder: Path) -> Path:
    """The file that a run's solver ("full") or trunk ("single") is in.

    Raises:
        UserError: there is none, or more than one.
    """
    pattern = "*-jigsaw.keras" if method == "full" else "*-jigsaw.weights.h5"
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(
            f"{folder}: holds {len(found)} files {pattern}, not one; train with jigsaw/main.py, "
            "or give another --run"
        )
    return found[0]
