#!/usr/bin/env python3
"""BLEU, METEOR, ROUGE-L and CIDEr-D of models, or of captions made elsewhere (`coco` protocol)."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from captioning import datasets
from captioning.arguments import positive_float, shared
from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.decoders import search_settings
from captioning.evaluation.coco_toolkit import CocoToolkit
from captioning.evaluation.confidence import calibration, confidence, reliability
from captioning.evaluation.figures import Candidate, baselines, record, spread, table
from captioning.evaluation.predictions import choose, read_predictions
from captioning.files import check_writable, sha256, write_json
from captioning.images.names import find_ids
from captioning.output.evaluation_page import GOOD, write_page
from captioning.training.plots import plot_reliability


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python %(prog)s --model-path MODEL")
    add = parser.add_argument
    what = "default, without --predictions: checkpoints/best_model.keras, else that in Pre-trained/"
    add("--model-path", nargs="+", metavar="MODEL", help=what)
    shared(parser, "--tokenizer")
    shared(parser, "--features", nargs="+", metavar="FILE", help="one for all models, or one each")
    what = "also (or only) score captions made elsewhere, in COCO's results format"
    add("--predictions", nargs="+", default=[], metavar="FILE", help=what)
    shared(parser, "--captions")
    shared(parser, "--dataset", choices=datasets.DATASETS)
    shared(parser, "--split", "--split-seed", "--limit")
    search_settings.add_arguments(parser, beam_width=3)
    add("--spread", action="store_true", help="mean and standard deviation of several models")
    what = "print the share of good captions by confidence; with a FILE.png also draw it"
    add("--calibrate", nargs="?", const="", metavar="FILE.png", help=what)
    shared(parser, "--output", help="write scores, settings and checksums as JSON")
    add("--report", help="write a page (.html) with each image, its captions and their CIDEr-D")
    shared(parser, "--images")
    what = "time limit for Java on all captions; after it, METEOR is left out"
    add("--java-patience", type=positive_float, default=600.0, metavar="SECONDS", help=what)
    return parser.parse_args()


def load_models(args, search: search_settings.Search) -> list:
    """(path, model, features' path, features) for each model; a file for several is read once."""
    import_keras()
    from captioning.captioners.loading import check_features, find_captioner, load_captioner
    from captioning.features.reading import find_features, read_features

    paths = list(map(Path, args.model_path or [find_captioner()]))
    models = [load_captioner(path, args.tokenizer) for path in paths]
    sources = args.features or [find_features(model.grid) for model in models]
    if len(sources) == 1:
        sources = sources * len(paths)
    if len(sources) != len(paths):
        raise UserError(
            f"--features: {len(sources)} files for {len(paths)} models; give one, or one each"
        )
    files = {source: read_features(source) for source in dict.fromkeys(map(Path, sources))}
    features = [(source, files[source]) for source in map(Path, sources)]
    rows = [(*pair, *both) for *pair, both in zip(paths, models, features, strict=True)]
    for path, model, source, features in rows:
        check_features(model, path, features, source)
        search.check_length(model.vocabulary)
        search.check_ranking(model, path)
    return rows


def caption_by_models(
    args, search: search_settings.Search, models: list, ids: list[str], references: dict
) -> list:
    """The captions of each model, all images decoded together."""
    if not models:  # then nothing here needs TensorFlow
        return []
    from captioning.decoders.search import generate

    candidates = []
    for path, model, source, features in models:
        rows = features.of(find_ids(ids, features, source).values())
        hypotheses = dict(zip(ids, generate(model, rows, search), strict=True))
        captions = {image_id: h.caption for image_id, h in hypotheses.items()}
        confidences = {image_id: confidence(*h) for image_id, h in hypotheses.items()}
        # Grids are gigabytes, so only for a record that is kept.
        digest = sha256(source) if args.output and source.is_file() else None
        origin = {"model": str(path), "model_sha256": sha256(path), "features": str(source)}
        origin |= {**asdict(search), "features_sha256": digest}
        candidates.append(Candidate(str(path), captions, references, origin, confidences))
    return candidates


def main() -> None:
    args = parse_arguments()
    search = search_settings.from_arguments(args)
    if args.spread and len(args.model_path or []) < 2:
        raise UserError("--spread: one model has none; give two or more with --model-path")
    calibrates = args.calibrate is not None
    if calibrates and args.predictions and not args.model_path:
        raise UserError("--calibrate: captions made elsewhere have no confidence; give a model")

    # 1. Which images, against which references. Mistakes come to light before the work.
    toolkit = CocoToolkit(args.java_patience)
    for output in filter(None, (args.output, args.report)):
        check_writable(output)
    if args.calibrate:
        check_writable(args.calibrate, ".png")
    if args.report or len(args.images) > 1:
        dataset, images, *_ = datasets.read_images_and_captions(
            args.images, args.captions, args.dataset
        )
    else:
        dataset = datasets.read_datasets(args.captions, args.dataset)
    references = dataset.captions
    splits = datasets.read_splits(args.split, references, seed=args.split_seed)
    split, split_name = datasets.all_ids(splits), datasets.described(args.split)
    ids = datasets.all_ids(datasets.select_each(splits, args.limit, references=references))
    elsewhere = {
        path: read_predictions(path, references, dataset.numbers) for path in args.predictions
    }
    models = load_models(args, search) if args.model_path or not elsewhere else []
    for *_, features in models:
        ids = datasets.select(ids, split=split_name, features=find_ids(ids, features, split_name))
    elsewhere = {path: choose(ids, captions, path) for path, captions in elsewhere.items()}
    if calibrates and len(ids) < 2:
        raise UserError("--calibrate: CIDEr-D needs two images or more")

    # 2. What is scored: the models' captions, those made elsewhere, and two rows to read them by.
    candidates = caption_by_models(args, search, models, ids, references)
    for path, captions in elsewhere.items():
        origin = {"predictions": path, "predictions_sha256": sha256(path)}
        candidates.append(Candidate(path, captions, references, origin))
    shown = len(candidates)
    candidates += baselines(references, ids, split)

    # 3. The scores.
    scored = toolkit.score([(row.references, row.captions) for row in candidates])
    rows = list(zip(candidates, scored, strict=True))
    of = f" of {len(split)}" if len(ids) < len(split) else ""
    settings = f"protocol coco, split {split_name}, {len(ids)}{of} images, captions {dataset.name}"
    print(settings)
    print(table(rows, spread(scored[: len(models)]) if args.spread else None))
    if toolkit.without_meteor:
        print(f"METEOR: n/a ({toolkit.without_meteor})")
        settings += f", METEOR n/a ({toolkit.without_meteor})"
    if len(ids) < 2:
        print("CIDEr-D: n/a (needs two images or more)")
    curves = {}
    for candidate, scores in rows[: len(models)] if calibrates else ():
        values = list(candidate.confidences.values())
        ciders = [scores.cider[image_id] for image_id in candidate.confidences]
        print(f"\n{candidate.name}\n{calibration(values, ciders, GOOD)}")
        curves[candidate.name] = reliability(values, ciders, GOOD)
    if args.calibrate:
        plot_reliability(Path(args.calibrate), curves, GOOD)
        print(f"wrote {args.calibrate}")
    if args.output:
        figures = {
            "protocol": "coco",
            "toolkit": toolkit.version,
            "without_java": toolkit.without_java,
            "without_meteor": toolkit.without_meteor,
            "captions": args.captions,
            "captions_sha256": list(map(sha256, args.captions)),
            "split": split_name,
            "split_seed": args.split_seed,
            "images": len(ids),
            "image_ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        }
        write_json(args.output, {**figures, "rows": [record(*row) for row in rows]})
        print(f"wrote {args.output}")
    if args.report:
        write_page(args.report, settings, rows, rows[:shown], images)
        print(f"wrote {args.report}")


if __name__ == "__main__":
    run(main)
