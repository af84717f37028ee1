#!/usr/bin/env python3
"""Pretext stage: a network learns to solve jigsaw puzzles of photographs without labels."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.cli import (
    ArgumentParser,
    UserError,
    fraction,
    import_keras,
    positive_float,
    positive_int,
    run,
    seed,
)
from captioning.encoders.table import preprocessing_of, trained_by

SHOWN = 4  # solved and unsolved puzzles in the picture


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, metavar="FILE.hdf5", help="from jigsaw/to_hdf5.py")
    add("--permutations", required=True, metavar="FILE", help="from jigsaw/maximal_hamming.py")
    add(
        "--max-hamming-set", type=positive_int, metavar="N",
        help="use only the first N permutations of the file; fewer are easier",
    )  # fmt: skip
    add("--tiles", type=positive_int, default=9, help="of a puzzle: 4, 9 or 16")
    add(
        "--encoder", choices=trained_by("jigsaw"), default="resnet50",
        help="the trunk, which every tile goes through; alexnet is the fastest on a CPU",
    )  # fmt: skip
    add(
        "--crop-size", type=positive_int,
        help="side in pixels of what is cut into cells; default: 225 of 256 pixels' width, and "
        "the cells a row of it",
    )  # fmt: skip
    add("--cell-size", type=positive_int, help="of the cells; default: the crop by tiles in a row")
    add(
        "--tile-size", type=positive_int,
        help="of the tiles, which lie anywhere in their cells; default: 64 of 75 pixels",
    )  # fmt: skip
    add("--grey", type=fraction, default=0.3, help="share of pictures that are turned grey")
    add(
        "--epochs", type=positive_int, default=100,
        help="at most: training stops when 6 epochs have not lowered the validation loss",
    )  # fmt: skip
    add("--batch-size", type=positive_int, default=128, help="puzzles a step")
    add(
        "--learning-rate", type=positive_float, default=1e-3,
        help="of Adam; it falls to a tenth when 3 epochs bring nothing. Lower it if the loss "
        "stays at the logarithm of the number of permutations",
    )  # fmt: skip
    add("--warmup-steps", type=positive_int, default=500, help="in which the rate rises from 0")
    add("--dropout", type=fraction, default=0.5, help="of the dense layers")
    add(
        "--dtype", choices=("float32", "bfloat16"), default="float32",
        help="bfloat16 computes faster where the processor has it; weights stay float32",
    )  # fmt: skip
    add("--workers", type=positive_int, default=2, help="threads that cut puzzles")
    add("--seed", type=seed, default=0, help="of weights, order and puzzles")
    add("--output", default="runs/jigsaw", metavar="DIR", help="takes all that is written")
    add("--resume", action="store_true", help="go on with the run in --output, if there is one")
    add("--limit", type=positive_int, help="use only N pictures of each split, for a try")
    add("--save-minutes", type=positive_float, default=10, help="save the state as often, too")
    add("--stop-minutes", type=positive_float, help="stop after so long; --resume goes on")
    args = parser.parse_args()
    if args.batch_size < 2:
        parser.error("--batch-size 1: the dense layers are normalised over a batch; give more")
    if args.max_hamming_set == 1:
        parser.error("--max-hamming-set 1: a puzzle has one answer then; give 2 or more")
    return args


def main() -> None:
    args = parse_arguments()
    output = Path(args.output)

    # 1. Puzzles: pictures, permutations and sizes.
    from captioning.files import hold
    from jigsaw.image_preprocessing.image_transform import JigsawCreator, default_sizes
    from jigsaw.permutations import read_permutations
    from jigsaw.picture_sets import SPLITS, digest, open_split

    counts = {split: len(open_split(args.dataset, split)) for split in SPLITS}
    counts = {split: min(count, args.limit or count) for split, count in counts.items()}
    picture_size = open_split(args.dataset, "train").shape[1]
    permutations = read_permutations(args.permutations, args.tiles, args.max_hamming_set)
    given = (args.crop_size, args.cell_size, args.tile_size)
    crop, cell, tile = default_sizes(picture_size, args.tiles, *given)
    sizes = {"picture_size": picture_size, "crop_size": crop, "cell_size": cell, "tile_size": tile}
    creator = JigsawCreator(permutations, **sizes, grey_share=args.grey)
    if counts["train"] < args.batch_size or min(counts.values()) == 0:
        listed = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise UserError(
            f"{args.dataset}: has {listed} pictures, too few for --batch-size {args.batch_size}; "
            "lower it, or make a larger file"
        )
    output.mkdir(parents=True, exist_ok=True)
    hold(output)
    print(
        f"{counts['train']} pictures of {picture_size} px, {len(permutations)} permutations of "
        f"{args.tiles} tiles; crop {crop}, cells {cell}, tiles {tile} px"
    )

    # 2. The network, new or as a run left it.
    import_keras()
    from captioning.encoders.jigsaw_solver import JigsawSolver, load_solver
    from jigsaw import training
    from jigsaw.DataGenerator import DataGenerator
    from jigsaw.schedule import WarmUpAdam

    train, val, test = (
        DataGenerator(
            args.dataset, split, creator, batch_size=args.batch_size, seed=args.seed + number,
            shuffle=split == "train", limit=args.limit, workers=args.workers,
        )
        for number, split in enumerate(SPLITS)
    )  # fmt: skip
    solver = JigsawSolver(
        args.encoder, permutations, **sizes,
        precision=args.dtype, dropout=args.dropout, seed=args.seed,
    )  # fmt: skip
    training.compile_solver(solver, WarmUpAdam(args.learning_rate, warmup_steps=args.warmup_steps))
    settings = {
        **solver.settings, "batch_size": args.batch_size, "grey": args.grey,
        "warmup_steps": args.warmup_steps, "pictures": counts["train"],
        "pictures_sha256": digest(args.dataset),
    }  # fmt: skip
    recipe = {
        **settings, "method": "jigsaw", "image_size": picture_size, "tiles": args.tiles,
        "preprocessing": str(preprocessing_of(args.encoder).resized(picture_size)),
        "permutations": len(permutations), "dataset": Path(args.dataset).name,
    }  # fmt: skip
    this_run = training.JigsawRun(
        solver, train, val, output, settings, recipe,
        epochs=args.epochs, learning_rate=args.learning_rate,
        save_minutes=args.save_minutes, stop_minutes=args.stop_minutes,
    )  # fmt: skip
    this_run.start(resume=args.resume)
    if this_run.step:
        print(f"goes on in epoch {len(this_run.history) + 1}")

    # 3. Train, then puzzles of pictures that it has never seen.
    this_run.train()
    if not this_run.history:
        print("stopped in the first epoch; go on with --resume")
        return
    best = load_solver(this_run.solver_path)
    training.compile_solver(best, None)
    result = training.test(best, test, output)
    print(
        f"test accuracy {result['accuracy']:.3f} on {result['puzzles']} puzzles; chance is "
        f"{result['chance']:.3f} ({result['accuracy'] / result['chance']:.0f} times)"
    )
    training.draw_some(best, test, output / "puzzles.png", SHOWN)
    print(f"{this_run.solver_path}: for jigsaw/Jigsaw_feature_extraction.py --method full")
    print(f"{this_run.trunk_path}: for --method single")


if __name__ == "__main__":
    run(main)
