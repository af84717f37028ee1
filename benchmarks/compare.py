#!/usr/bin/env python3
"""Compare pretext stages by captions: each encoder frozen and fine-tuned, by one command.

    python benchmarks/compare.py --pretext random simclr moco byol jigsaw --pictures-seen 400000

A row is an encoder and a seed: its pretext stage, features, a decoder on them, both fine-tuned on
captions, and the figures of either. The decoder of the frozen encoder trains for as many epochs as
the fine-tuned one in all. Odd lines of the development split choose the epochs, so that the even
ones judge what they have not chosen. Every step is a command of the project's scripts. The commands
are printed; --dry-run does nothing else.
"""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from comparison_table import write_results

from captioning import cli
from captioning.arguments import IMAGES, SPLITS, positive_int, seed
from captioning.cli import UserError
from captioning.datasets import read_split
from captioning.encoders.table import TABLE, trained_by
from captioning.evaluation.coco_toolkit import CocoToolkit
from captioning.files import existing_file, lock, sha256, write_json, write_text
from captioning.images.sources import open_sources

DEV = f"{SPLITS}.devImages.txt"
SIDE = 112  # of pictures; those of supervised weights, puzzle solvers and files are as they say
CONTRASTIVE = f"--image-size 48 --stored-size 96 --feature-size {SIDE}"
# The best of three trials each (docs/lab-notes/contrastive.md): the paper's optimizer, AdamW, and
# the better one at twice its rate. At 0.999 MoCo's slow network would lag in a short run.
METHODS = {
    "simclr": "",
    "simclr-small-crops": "--small-crops 4 --learning-rate 2.4",
    "moco": "--momentum 0.99 --optimizer adamw --learning-rate 2e-3",
    "byol": "--learning-rate 0.9",
}
# Of an image, in all views: two of 48 px, small crops of 24, nine tiles of 32.
PIXELS = {**dict.fromkeys(METHODS, 2 * 48**2), "jigsaw": 9 * 32**2}
PIXELS["simclr-small-crops"] += 4 * 24**2
JIGSAW = "--batch-size 64 --dropout 0.2 --warmup-steps 200"
DECODER = "--decoder attention --normalize --patience 0"
# It reads all five captions of an image, as a decoder's epoch does: the budgets are equal.
FINE_TUNING = "--stages all --learning-rate 1e-3"

# The steps: a command, and the file that it leaves. {out} is the comparison's folder, {own} the
# row's and seed's, {shared} the same, or the row's where features depend on no seed.
CAPTIONS = """
1_data_preprocessor.py --only captions --text-rules ptb {limit}
    --descriptions {out}/descriptions.txt -> {out}/descriptions.txt"""
BY_VIEWS = """
contrastive/main.py --method {method} {contrastive} --pictures-seen {pictures_seen} {pictures}
    {trained} -> {weights}"""
BY_PUZZLES = """
jigsaw/to_hdf5.py --size 128 {pictures} --output {out}/puzzles.hdf5
    -> {out}/puzzles.hdf5
jigsaw/maximal_hamming.py 100 --selection min --output {out}/permutations.txt
    -> {out}/permutations.txt
jigsaw/main.py --dataset {out}/puzzles.hdf5 --permutations {out}/permutations.txt {jigsaw}
    {trained} -> {weights}"""
ON_CAPTIONS = """
1_data_preprocessor.py {extract} {given} --features {shared}/whole.h5 -> {shared}/whole.h5
1_data_preprocessor.py {extract} {given} --view 1 --features {shared}/view1.h5 -> {shared}/view1.h5
1_data_preprocessor.py {extract} {given} --view 2 --features {shared}/view2.h5 -> {shared}/view2.h5
2_train_IC_model.py {decoder} --epochs {decoder_epochs} --features {shared}/whole.h5
    --views {shared}/view1.h5 {shared}/view2.h5 --descriptions {out}/descriptions.txt
    --dev-split {out}/odd.txt --seed {seed} --output-dir {own}/first
    -> {own}/first/checkpoints/best_model.keras
2_train_IC_model.py {decoder} --epochs {all_epochs} --features {shared}/whole.h5
    --views {shared}/view1.h5 {shared}/view2.h5 --descriptions {out}/descriptions.txt
    --dev-split {out}/odd.txt --seed {seed} --output-dir {own}/frozen
    -> {own}/frozen/checkpoints/best_model.keras
evaluate.py --model-path {own}/frozen/checkpoints/best_model.keras --beam-width 3
    --features {shared}/whole.h5 --output {own}/frozen.json -> {own}/frozen.json
tools/fine_tuning.py --model {own}/first/checkpoints/best_model.keras {given}
    {fine_tuning} --epochs {fine_tuning_epochs} --descriptions {out}/descriptions.txt
    --dev-split {out}/odd.txt --seed {seed} --output-dir {own}/fine-tuned
    -> {own}/fine-tuned/checkpoints/best_model.keras
1_data_preprocessor.py {extract} --features {own}/fine-tuned.h5
    --weights {own}/fine-tuned/checkpoints/{encoder}-captions.weights.h5 -> {own}/fine-tuned.h5
evaluate.py --model-path {own}/fine-tuned/checkpoints/best_model.keras --beam-width 3
    --features {own}/fine-tuned.h5 --output {own}/fine-tuned.json -> {own}/fine-tuned.json"""
NOTHING_LEARNED = """
tools/random_encoder.py {of} --image-size {side} --seed {seed} {pictures}
    --output {weights} -> {weights}"""
PRETEXT = {
    "random": NOTHING_LEARNED,
    **dict.fromkeys(METHODS, BY_VIEWS),
    "jigsaw": BY_PUZZLES,
}
NAMES = tuple(PRETEXT)  # of encoders that are trained here
EVERY = (*NAMES, "supervised")
# They take a minute at most.
NOT_RESUMED = (
    "evaluate.py",
    "jigsaw/maximal_hamming.py",
    "jigsaw/to_hdf5.py",
    "tools/random_encoder.py",
)


class Row(NamedTuple):
    """An encoder and a seed; `weights` is a file that was given."""

    name: str
    encoder: str
    seed: int
    pictures_seen: int | None = None  # before captions, if that is known
    weights: str | None = None


def parse_arguments():
    parser = cli.ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    add = parser.add_argument
    what = f"{', '.join(EVERY)}, or weight files"
    add("--pretext", nargs="+", default=EVERY, metavar="NAME", help=what)
    encoders = [name for name in trained_by("contrastive") if not TABLE[name].supervised]
    add("--encoder", choices=encoders, default="resnet18", help="encoder to train")
    add("--pictures-seen", type=positive_int, default=400_000, help="images per pretext stage")
    add("--seeds", nargs="+", type=seed, default=[0, 1], help="random seeds, one row each")
    add("--images", nargs="+", default=[IMAGES], help="for pretext stages")
    add("--exclude", nargs="+", default=[DEV], help="split files of images to leave out")
    add("--decoder-epochs", type=positive_int, default=5, help="epochs on the frozen encoder")
    add("--fine-tuning-epochs", type=positive_int, default=5, help="epochs of encoder and decoder")
    what = "precision of all steps; float32 is faster on processors without bfloat16"
    add("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help=what)
    add("--limit", type=positive_int, help="quick test: use only the first N images")
    add("--output", type=Path, default=Path("runs/compare"), help="output folder")
    add("--dry-run", action="store_true", help="only print the remaining commands")
    return parser.parse_args()


def row_of(name: str, seed: int, args) -> Row:
    """What a word of `--pretext` asks for. `UserError`: it is no name, or the file is not there."""
    path, encoder, puzzlers = Path(name), args.encoder, trained_by("jigsaw")
    if name == "supervised":
        return Row(name, "efficientnet_lite0", seed)
    if name in NAMES:
        encoder = puzzlers[0] if name == "jigsaw" and encoder not in puzzlers else encoder
        return Row(name, encoder, seed, 0 if name == "random" else args.pictures_seen)
    if not (path.is_file() or path.suffix or len(path.parts) > 1):
        raise UserError(f"--pretext {name}: is none of {', '.join(EVERY)}, nor a file of weights")
    digest = sha256(existing_file(path, "weights file"))
    cli.import_keras()
    from captioning.encoders.weights import read_recipe

    recipe = read_recipe(path)
    epochs, pictures = (recipe.get(key, 0) for key in ("epochs_trained", "pictures"))
    solved = epochs * pictures if isinstance(epochs, int) else 0  # by a puzzle solver
    seen = recipe.get("pictures_seen") or solved or None
    if not isinstance(seen, int | None) or str(recipe.get("encoder", encoder)) not in TABLE:
        raise UserError(f"{name}: its recipe is damaged")
    stem = f"{path.name.split('.')[0]}-{digest[:6]}"  # another file is another row
    return Row(stem, recipe.get("encoder", encoder), seed, seen, name)


def steps_of(row: Row, args) -> dict[str, list[str]]:
    """All that is done for a row, in order: the file that is left, and the words after `python`."""
    limit = ["--limit", str(args.limit)] if args.limit else []
    batch = ["--batch-size", str(min(256, max(8, args.limit // 16 * 8)))] if limit else []
    out, own = args.output, args.output / f"{row.name}-{row.seed}"
    encoder, weights = ["--encoder", row.encoder], row.weights
    method = row.name.split("-")[0]
    if row.name in NAMES:
        weights = f"{own}/pretext/{row.encoder}-{method}.weights.h5"
    given = ["--weights", weights] if weights else []
    dtype = ["--dtype", args.dtype]
    epochs = 0  # in which a puzzle solver sees so many of those that it learns from, 85%
    if row.name == "jigsaw":
        exclude = {name for file in args.exclude for name in read_split(file)}
        count = min(open_sources(args.images, exclude).count, args.limit or math.inf)
        epochs = max(1, round(args.pictures_seen / (0.85 * count)))
    values = {
        **vars(args),
        **row._asdict(),
        "out": out,
        "own": own,
        "weights": weights,
        "shared": own if row.name in NAMES else out / row.name,
        "limit": limit,
        "given": given,
        "decoder": [*DECODER.split(), *dtype],
        "method": method,
        "side": SIDE,
        "of": encoder,
        "all_epochs": args.decoder_epochs + args.fine_tuning_epochs,
        "fine_tuning": [*FINE_TUNING.split(), *dtype],
        "pictures": ["--images", *args.images, "--exclude", *args.exclude, *limit],
        "contrastive": [*CONTRASTIVE.split(), *dtype, *METHODS.get(row.name, "").split()],
        "jigsaw": [*JIGSAW.split(), *dtype, "--epochs", str(epochs)],
        "trained": [*encoder, *batch, "--seed", str(row.seed), "--output", f"{own}/pretext"],
        "extract": ["--only", "features", "--grid", *limit, *dtype, *encoder],
    }
    steps, command = {}, []
    words = iter(f"{CAPTIONS} {PRETEXT.get(row.name, '')} {ON_CAPTIONS}".split())
    for word in words:  # values are put in after the words are split: a path may have spaces
        if word == "->":
            steps[next(words).format(**values)], command = command, []
        else:
            value = values.get(word[1:-1])
            command += value if isinstance(value, list) else [word.format(**values)]
    return steps


class Record:
    """What a comparison has begun and done: {file: [command, whether done]} in `steps.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "steps.json"
        try:
            self.steps = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        except ValueError as error:
            raise UserError(f"{self.path}: is damaged; give another --output ({error})") from error
        if not self.steps and any(folder.glob("*/*")):
            raise UserError(f"{folder}: holds files, but no steps.json; give another --output")

    def of(self, file: str) -> tuple[list[str], bool]:
        """The command that has begun `file`, empty if none has, and whether it is done."""
        command, done = self.steps.get(os.path.relpath(file, self.folder), ([], False))
        return command, done and os.path.isfile(file)

    def note(self, file: str, command: list[str], done: bool) -> None:
        self.steps[os.path.relpath(file, self.folder)] = [command, done]
        write_json(self.path, self.steps)

    def left(self, steps: dict[str, list[str]]) -> list[str]:
        """What is to make, nothing if all figures are there. `UserError`: it was made otherwise."""
        for file, command in steps.items():
            made, done = self.steps.get(os.path.relpath(file, self.folder), (command, False))
            if not done and command[0] != "contrastive/main.py":  # which may be made longer
                continue  # nothing may be there yet; what is, its script judges on --resume
            for was, now in zip_longest(made, command):
                if was != now:
                    advice = "give the same settings, or another --output"
                    raise UserError(f"{file}: was made with {was}, not {now}; {advice}")
        missing = [file for file in steps if not self.of(file)[1]]
        return missing if any(file.endswith(".json") for file in missing) else []

    def carry_out(self, file: str, command: list[str]) -> None:
        """Make a file, or go on with it. Raises `UserError` if the command fails and says why."""
        resumed = self.of(file)[0] and command[0] not in NOT_RESUMED
        words = [*command, "--resume"] if resumed else command
        print("python", shlex.join(words), flush=True)
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        self.note(file, command, False)
        if status := subprocess.run([sys.executable, *words]).returncode:
            advice = "see above; the same comparison goes on from there"
            raise UserError(f"{file}: its command ended with status {status}, {advice}")
        self.note(file, command, True)


def results_of(plan: list[tuple[Row, dict[str, list[str]]]], record: Record) -> list[tuple]:
    """What there is for the table, as `write_results` takes it."""
    results = []
    for row, steps in plan:
        pixels = f"{PIXELS.get(row.name, 0) * (row.pictures_seen or 0) / 1e9:.2f}"
        about = (row.name, row.encoder, row.pictures_seen, pixels if row.name in NAMES else None)
        files = [Path(file) for file in steps if file.endswith(".json") and record.of(file)[1]]
        results += [(about, row.seed, file) for file in files]
    return results


def main() -> None:
    args = parse_arguments()
    named = [row_of(name, seed, args) for seed in args.seeds for name in args.pretext]
    rows = {(row.name, row.seed): row for row in named}.values()  # a file may be named twice
    plan = [(row, steps_of(row, args)) for row in rows]
    if not args.dry_run:
        args.output.mkdir(parents=True, exist_ok=True)
        lock(args.output)
    record = Record(args.output)
    todo = {file: steps[file] for _, steps in plan for file in record.left(steps)}
    if args.dry_run:
        print(*(f"python {shlex.join(command)}" for command in todo.values()), sep="\n")
        return
    if todo:
        CocoToolkit()  # says now that it is missing, not hours later
    odd = read_split(DEV)[::2]
    write_text(args.output / "odd.txt", "".join(f"{name}\n" for name in odd))
    for _, steps in plan:
        for file in record.left(steps):
            record.carry_out(file, steps[file])
        write_results(args.output, results_of(plan, record), args.dtype, odd)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the step on its way, too
    cli.run(main)
