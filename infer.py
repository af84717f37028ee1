#!/usr/bin/env python3
"""A caption for a picture, or for each picture of a folder, by a model of your choice."""

import contextlib
import sys
from pathlib import Path

from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.decoders import search_settings


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image-path", nargs="+", metavar="FILE_OR_FOLDER", help="what to caption")
    what.add_argument(
        "--watch",
        metavar="FOLDER",
        help="stay, and print a line of JSON for each picture that appears there from now on",
    )
    what.add_argument(
        "--stdin",
        action="store_true",
        help="stay, and print a line of JSON for each path that comes on a line of standard input",
    )
    add("--model-path", help="default: checkpoints/best_model.keras, else the one in Pre-trained/")
    search_settings.add_arguments(parser, beam_width=3)
    add(
        "--attention",
        metavar="FILE.png",
        help="draw where the model looked for each word; for attention and transformer models",
    )
    add("--tokenizer", help="for an .h5 model; default: tokenizer.pkl here or in Pre-trained/")
    add("--encoder", help="default: the one that the model records")
    add("--weights", help="encoder weights, where the model's encoder needs a file")
    return parser.parse_args()


def load(args, search: search_settings.Search):
    """The model and its encoder, each checked to be able to do what is asked for."""
    import_keras()
    from captioning.captioners.loading import (
        encoder_of,
        find_captioner,
        load_captioner,
        tokenizer_for,
    )
    from captioning.output import heatmaps

    path = Path(args.model_path) if args.model_path else find_captioner()
    model = load_captioner(path, tokenizer_for(path, args.tokenizer))
    search.check_length(model.vocabulary)
    if args.attention:
        heatmaps.check_looks(model, path)
    return model, encoder_of(model, path, args.encoder, args.weights)


def stay(args, search: search_settings.Search) -> None:
    """Caption what comes, until standard input ends, the folder is gone, or a user stops it."""
    from captioning.output import staying

    with contextlib.suppress(KeyboardInterrupt):
        if args.watch:  # what appears while the model loads counts, too
            names = staying.appearing(Path(args.watch), staying.look(Path(args.watch)))
        else:
            names = staying.named(sys.stdin.buffer)
        with contextlib.redirect_stdout(sys.stderr):  # standard output has lines of JSON only
            model, encoder = load(args, search)
        staying.answer(model, encoder, names, search)


def main() -> None:
    args = parse_arguments()
    search = search_settings.from_arguments(args)
    if args.watch is not None or args.stdin:
        if args.attention:
            raise UserError("--attention draws one sheet of all pictures; give --image-path")
        return stay(args, search)
    from captioning.files import check_writable
    from captioning.images.folders import list_images
    from captioning.output.sheets import check_sheet

    images = list_images(args.image_path)
    if args.attention:
        if len(images) > 40:
            raise UserError(f"--attention draws up to 40 pictures; these are {len(images)}")
        if Path(args.attention).suffix != ".png":
            raise UserError(f"{args.attention}: --attention writes a PNG; end the name in .png")
        check_writable(args.attention)
        check_sheet(args.attention)

    model, encoder = load(args, search)
    from captioning.output import heatmaps
    from captioning.output.caption_pictures import caption_and_print, check_all_captioned

    results, failed = caption_and_print(model, encoder, images, search)
    if args.attention:
        looks = [
            heatmaps.attend(model, encoder, captioned.path, captioned.caption)
            for captioned in results
        ]
        heatmaps.draw(looks, args.attention)
        print(f"{args.attention}: where the model looked for each word")
    check_all_captioned(results, failed)


if __name__ == "__main__":
    run(main)
