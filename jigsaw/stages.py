"""The numbered stages with the jigsaw's defaults: what each `Jigsaw_*.py` runs."""

import runpy
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from captioning.cli import ArgumentParser, UserError, run  # noqa: E402

# By the script's name: the numbered script, and what comes before the user's arguments. {folder} is
# `full` or `single` in the folder of `jigsaw/main.py`, {weights} the trained file in that, and
# {encoder} its name for --encoder.
STAGES = {
    "jigsaw_captions": "1_data_preprocessor.py --only captions "
    "--descriptions {folder}/descriptions.txt",
    "Jigsaw_feature_extraction": "1_data_preprocessor.py --only features --encoder {encoder} "
    "--weights {weights} --features {folder}/features.pkl",
    "Jigsaw_IC_model": "2_train_IC_model.py --features {folder}/features.pkl "
    "--descriptions {folder}/descriptions.txt --output-dir {folder}",
    "Jigsaw_test_bleu": "3_BLEU.py --model {folder}/checkpoints/best_model.keras "
    "--features {folder}/features.pkl --descriptions {folder}/descriptions.txt",
    "Jigsaw_tokenizer": "4_tokenizer.py --descriptions {folder}/descriptions.txt "
    "--output {folder}/tokenizer.pkl",
    "Jigsaw_test_images": "5_test.py --model {folder}/checkpoints/best_model.keras "
    "--tokenizer {folder}/tokenizer.pkl --weights {weights}",
}


def run_stage(path: str, description: str) -> NoReturn:
    """Run the numbered script that the script `path` stands for, with its defaults.

    Of an argument that is given twice the last counts, so what the user gives has precedence.
    """
    script, *defaults = STAGES[Path(path).stem].split()
    usage = "%(prog)s [--method METHOD] [--run DIR] [what the stage takes]"
    parser = ArgumentParser(description, add_help=False, usage=usage)
    what = "vectors of the solver's last dense layer (full), or of the trunk on the whole picture"
    parser.add_argument("--method", choices=("full", "single"), default="full", help=what)
    parser.add_argument("--run", default="runs/jigsaw", metavar="DIR", help="of jigsaw/main.py")
    args, rest = parser.parse_known_args()

    def main() -> None:
        if {"-h", "--help"} & set(rest):
            parser.print_help()
            print(f"\nAll else goes to {script}, which says:\n", flush=True)
            sys.argv[1:] = ["--help"]
        else:
            values = values_for(args.method, Path(args.run), trained="{weights}" in defaults)
            before = [word.format(**values) for word in defaults]
            print(script, *before, *rest, flush=True)
            sys.argv[1:] = before + rest
        runpy.run_path(str(ROOT / script))["main"]()

    run(main)


def values_for(method: str, run_folder: Path, trained: bool) -> dict[str, str | Path]:
    """What the braces in `STAGES` stand for; the folder of the method is made.

    Raises:
        UserError: there is no such run, or no `trained` file in it, or more than one.
    """
    if not run_folder.is_dir():
        raise UserError(f"{run_folder}: no such folder; train with jigsaw/main.py, or give --run")
    values = {"folder": run_folder / method}
    if trained:
        pattern = "*-jigsaw.keras" if method == "full" else "*-jigsaw.weights.h5"
        files = sorted(run_folder.glob(pattern))
        if len(files) != 1:
            hint = "train with jigsaw/main.py, or give another --run"
            raise UserError(f"{run_folder}: holds {len(files)} files {pattern}, not one; {hint}")
        encoder = "jigsaw" if method == "full" else files[0].name.removesuffix(pattern[1:])
        values |= {"weights": files[0], "encoder": encoder}
    values["folder"].mkdir(exist_ok=True)
    return values
