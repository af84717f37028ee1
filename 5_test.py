#!/usr/bin/env python3
"""Stage 5: a caption for any picture."""

from pathlib import Path

from captioning.cli import ArgumentParser, import_keras, run
from captioning.decoders import search_settings


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="pictures; default: examples/")
    add("--model", help="default: checkpoints/best_model.keras, else the one in Pre-trained/")
    add(
        "--beside",
        metavar="MODEL",
        help="a second captioner, to compare: its captions stand beneath those of --model",
    )
    add("--tokenizer", help="default: the tokenizer.pkl that lies with the model, if any")
    add("--encoder", help="default: the one that the model records")
    add("--weights", help="encoder weights, where the model's encoder needs a file")
    search_settings.add_arguments(parser, beam_width=3)
    add(
        "--output",
        nargs="+",
        default=[],
        metavar="FILE",
        help="also write the captions as .json, .csv, .html (a page) or .png (a contact sheet)",
    )
    add(
        "--embed",
        metavar="FOLDER",
        help="also write copies of the pictures (JPEG, PNG, WebP) there, each with its caption "
        "inside as XMP and EXIF description; the originals are only read",
    )
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    search = search_settings.from_arguments(args)
    from captioning.files import EXAMPLES, check_writable
    from captioning.images.folders import list_images
    from captioning.output import captions, copies

    given = args.images or [EXAMPLES]
    images = list_images(given)
    outputs = [Path(output) for output in args.output]
    for output in outputs:
        captions.check_output(output, images)
        check_writable(output)
    planned = copies.plan(Path(args.embed), given, images) if args.embed is not None else {}

    import_keras()
    from captioning.captioners.loading import (
        encoder_of,
        find_captioner,
        load_captioner,
        tokenizer_beside,
        tokenizer_for,
    )
    from captioning.output.caption_pictures import caption_and_print, check_all_captioned

    model_path = Path(args.model) if args.model else find_captioner()
    tokenizer = tokenizer_for(model_path, args.tokenizer) or tokenizer_beside(model_path)
    print(f"model {model_path}, tokenizer {tokenizer or '(the one in the model)'}")
    model = load_captioner(model_path, tokenizer)
    encoder = encoder_of(model, model_path, args.encoder, args.weights)
    search.check_length(model.vocabulary)
    if args.beside:
        path = Path(args.beside)
        other = load_captioner(path, tokenizer_for(path, None))
        other_encoder = encoder_of(other, path)
        search.check_length(other.vocabulary)

    results, failed = caption_and_print(model, encoder, images, search)
    if args.beside:
        print(f"beside, model {path}")
        shown = [captioned.path for captioned in results]
        others, also_failed = caption_and_print(other, other_encoder, shown, search)
        results, failed = captions.beside(results, others, path.stem), failed + also_failed
    for output in outputs:
        captions.write_captions(output, results)
        print(f"wrote {output}")
    uncopied = copies.write(results, planned) if planned else ()
    check_all_captioned(results, failed, uncopied)


if __name__ == "__main__":
    run(main)
