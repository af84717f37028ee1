#!/usr/bin/env python3
"""Pretext stage: train an encoder to solve jigsaw puzzles of images without labels."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import fraction, number, positive_int, shared
from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.encoders.table import trained_by


def parse_arguments():
    parser = ArgumentParser(
        __doc__, epilog="example: python jigsaw/main.py --dataset FILE.hdf5 --permutations FILE"
    )
    add, two_or_more = parser.add_argument, number(int, least=2)
    add("--dataset", required=True, metavar="FILE.hdf5", help="images from jigsaw/to_hdf5.py")
    what = "text file from jigsaw/maximal_hamming.py, or an array of numpy.save, as public sets are"
    add("--permutations", required=True, metavar="FILE", help=what)
    add("--max-hamming-set", type=two_or_more, metavar="N", help="use the first N permutations")
    add("--tiles", type=positive_int, default=9, help="tiles per puzzle: 4, 9 or 16")
    what = "network applied to each tile; alexnet is the fastest on a CPU"
    add("--encoder", choices=trained_by("jigsaw"), default="resnet50", help=what)
    add("--crop-size", type=positive_int, help="side of the crop; default: 225/256 of the image's")
    add("--cell-size", type=positive_int, help="side of the cells; default: crop / tiles per row")
    add("--tile-size", type=positive_int, help="side of the tiles; default: 64/75 of the cell's")
    add("--grey", type=fraction, default=0.3, help="share of images converted to greyscale")
    shared(parser, "--epochs", default=100, help="with --schedule plateau the maximum")
    shared(parser, "--batch-size", type=two_or_more, default=128, help="puzzles per step")
    what = "peak learning rate; lower it if the loss stays at ln(number of permutations)"
    shared(parser, "--learning-rate", default=1e-3, help=what)
    add("--warmup-steps", type=positive_int, default=500, help="warm-up steps")
    what = "cosine: to 0 over --epochs; plateau: a tenth after 3 epochs without gain, end after 6"
    add("--schedule", choices=("cosine", "plateau"), default="cosine", help=what)
    add("--dropout", type=fraction, default=0.5, help="dropout rate of the dense layers")
    shared(parser, "--workers", default=2, help="threads that cut puzzles")
    shared(parser, "--seed", help="random seed of the weights, the order and the puzzles")
    shared(parser, "--output", default="runs/jigsaw", metavar="FOLDER")
    shared(
        parser, "--dtype", "--resume", "--restart", "--limit", "--save-minutes", "--stop-minutes"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from jigsaw.image_sets import open_splits

    with open_splits(args.dataset) as images:
        train(args, images)


def train(args, images) -> None:
    # 1. Puzzles: pictures, permutations and sizes.
    from captioning.files import open_run, write_json
    from jigsaw.image_preprocessing.image_transform import JigsawCreator, default_sizes
    from jigsaw.image_sets import digest
    from jigsaw.permutations import read_permutations

    counts = {split: min(len(data), args.limit or len(data)) for split, data in images.items()}
    side = images["train"].shape[1]
    permutations = read_permutations(args.permutations, args.tiles, args.max_hamming_set)
    sizes = default_sizes(side, args.tiles, args.crop_size, args.cell_size, args.tile_size)
    creator = JigsawCreator(permutations, **sizes, grey_share=args.grey)
    if counts["train"] < args.batch_size or min(counts.values()) == 0:
        listed = ", ".join(f"{count} {split}" for split, count in counts.items())
        hint = f"too few for --batch-size {args.batch_size}; lower it, or make a larger file"
        raise UserError(f"{args.dataset}: has {listed} pictures, {hint}")
    output = Path(args.output)
    open_run(output, resume=args.resume, restart=args.restart)
    print(
        f"{counts['train']} images of {side} px, {len(permutations)} permutations of "
        f"{args.tiles} tiles; crop {creator.crop_size}, cells {creator.cell_size}, "
        f"tiles {creator.tile_size} px"
    )

    # 2. The network, new or as a run left it.
    import_keras()
    from captioning.encoders.jigsaw_solver import JigsawSolver, load_solver
    from jigsaw import training
    from jigsaw.DataGenerator import DataGenerator

    options = {"batch_size": args.batch_size, "limit": args.limit, "workers": args.workers}
    puzzles = {}
    for seed, (split, data) in enumerate(images.items(), start=args.seed):
        shuffle = split == "train"
        puzzles[split] = DataGenerator(data, creator, seed=seed, shuffle=shuffle, **options)
    more = {"precision": args.dtype, "dropout": args.dropout, "seed": args.seed}
    solver = JigsawSolver(args.encoder, permutations, **sizes, **more)
    steps = args.epochs * len(puzzles["train"])
    optimizer = training.make_optimizer(args.schedule, args.learning_rate, args.warmup_steps, steps)
    training.compile_solver(solver, optimizer)
    names = ("batch_size", "grey", "schedule", "epochs", "learning_rate", "warmup_steps")
    settings = {
        **solver.settings,
        **{name: getattr(args, name) for name in names},
        "pictures": counts["train"],
        "pictures_sha256": digest(images),
        "dataset": Path(args.dataset).name,
    }
    minutes = {name: getattr(args, name) for name in ("save_minutes", "stop_minutes")}
    this_run = training.JigsawRun(solver, puzzles, output, settings, **minutes)
    this_run.start(resume=args.resume)
    if this_run.step:
        print(f"resuming in epoch {len(this_run.history) + 1}")

    # 3. Train, then puzzles of pictures that it has never seen.
    this_run.train()
    if not this_run.history:
        print("stopped in the first epoch; continue with --resume")
        return
    best = load_solver(this_run.solver_path)
    training.compile_solver(best)
    result = best.evaluate(puzzles["test"], verbose=0, return_dict=True)
    count, chance = len(puzzles["test"].rows), 1 / len(permutations)
    write_json(output / "test.json", {**result, "chance": chance, "puzzles": count})
    accuracy = f"test accuracy {result['accuracy']:.3f} on {count} puzzles"
    print(f"{accuracy}, chance {chance:.3f}")
    training.draw_puzzles(best, puzzles["test"], output / "puzzles.png")
    print(f"{output / 'history.png'}: accuracy and loss by epoch")
    print(f"{output / 'puzzles.png'}: test puzzles, as given and as solved")
    print(f"{this_run.solver_path}: for jigsaw/Jigsaw_feature_extraction.py --method full")
    print(f"{this_run.trunk_path}: for --method single")


if __name__ == "__main__":
    run(main)
