#!/usr/bin/env python3
"""A caption for a picture, or for each picture of a folder, by a model of your choice."""

from pathlib import Path

from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.decoders import search_settings


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--image-path", required=True, nargs="+", metavar="FILE_OR_FOLDER", help="what to caption")
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


def main() -> None:
    args = parse_arguments()
    search = search_settings.from_arguments(args)
    from captioning.files import check_writable
    from captioning.images.folders import list_images

    images = list_images(args.image_path)
    if args.attention:
        if len(images) > 40:
            raise UserError(f"--attention draws up to 40 pictures; these are {len(images)}")
        if Path(args.attention).suffix != ".png":
            raise UserError(f"{args.attention}: --attention writes a PNG; end the name in .png")
        check_writable(args.attention)

    import_keras()
    from captioning.captioners.loading import (
        encoder_of,
        find_captioner,
        load_captioner,
        tokenizer_for,
    )
    from captioning.output import heatmaps
    from captioning.output.caption_pictures import caption_and_print, check_all_captioned

    model_path = Path(args.model_path) if args.model_path else find_captioner()
    model = load_captioner(model_path, tokenizer_for(model_path, args.tokenizer))
    if args.attention:
        heatmaps.check_looks(model, model_path)
    encoder = encoder_of(model, model_path, args.encoder, args.weights)
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
