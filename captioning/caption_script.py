"""The script that captions: what `5_test.py` and `infer.py` both are."""

import contextlib
import sys
from argparse import Namespace
from pathlib import Path

from captioning.arguments import SHARED, shared
from captioning.cli import ArgumentParser, UserError, import_keras
from captioning.decoders import search_settings
from captioning.decoders.search_settings import Search

MOST_LOOKS = 40  # pictures that --attention draws
USELESS = 0.1  # confidence below which every caption of a model that has learned too little is


def parse_arguments(description: str) -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(description)
    add = parser.add_argument
    image = "IMAGE_OR_FOLDER"
    add("images", nargs="*", metavar=image, help="what to caption; default: examples/")
    add("--image-path", nargs="+", default=[], metavar=image, help="the same, as an option")
    group = parser.add_mutually_exclusive_group()
    text = "stay, and print a line of JSON for each picture that lies or appears in the folder"
    group.add_argument("--watch", metavar="FOLDER", help=text)
    text = "stay, and print a line of JSON for each path that comes on a line of standard input"
    group.add_argument("--stdin", action="store_true", help=text)
    add("--new-only", action="store_true", help="of --watch: only what appears from now on")
    add("--model", "--model-path", help=SHARED["--model"]["help"])
    text = "a second captioner, to compare: its captions stand beneath those of --model"
    add("--beside", metavar="MODEL", help=text)
    shared(parser, "--tokenizer", "--encoder", "--weights")
    search_settings.add_arguments(parser, beam_width=3)
    text = "also write the captions as .json, .csv, .html (a page) or .png (a contact sheet)"
    add("--output", nargs="+", default=[], metavar="FILE", help=text)
    text = (
        "also write copies of the pictures (JPEG, PNG, WebP) there, each with its caption inside "
        "as XMP and EXIF description; the originals are only read"
    )
    add("--embed", metavar="FOLDER", help=text)
    text = "draw where the model looked for each word; for attention and transformer models"
    add("--attention", metavar="FILE.png", help=text)
    return parser.parse_args()


def load(path: Path, args: Namespace, search: Search, encoder=None, weights=None) -> tuple:
    """A model and its encoder, each checked to be able to do what is asked for."""
    from captioning.captioners.loading import encoder_of, load_captioner

    model = load_captioner(path, args.tokenizer)
    search.check_length(model.vocabulary)
    return model, encoder_of(model, path, encoder, weights)


def load_first(args: Namespace, search: Search) -> tuple:
    """The model of --model, or the one that is found, said which; and its encoder."""
    import_keras()
    from captioning.captioners.loading import SHIPPED, find_captioner
    from captioning.files import PRETRAINED

    path, shipped = Path(args.model or find_captioner()), PRETRAINED / SHIPPED
    if args.model:
        print(f"model {path}")
    elif path == shipped:
        print(f"model {path}, the shipped one; for another: --model FILE")
    else:
        print(f"model {path}, your own; for the shipped one: --model {shipped}")
    loaded = load(path, args, search, args.encoder, args.weights)
    if args.attention:
        from captioning.output.heatmaps import check_looks

        check_looks(loaded[0], path)
    return loaded


def stay(args: Namespace, search: Search) -> None:
    """Caption what comes, until standard input ends, the folder is gone, or a user stops it."""
    from captioning.output import watching

    with contextlib.suppress(KeyboardInterrupt):
        if args.watch is None:
            names = watching.named(sys.stdin.buffer)
        else:  # what appears while the model loads counts, too
            folder = Path(args.watch)
            there = watching.snapshot(folder)
            names = watching.appearing(folder, there if args.new_only else {})
        with contextlib.redirect_stdout(sys.stderr):  # standard output has lines of JSON only
            model, encoder = load_first(args, search)
            if args.watch is not None:
                print(f"watching {args.watch}, {len(there)} pictures there; Ctrl-C ends it")
        watching.answer(model, encoder, names, search)


def caption_images(description: str) -> None:
    """Caption what the command line names, and write what it asks for."""
    args = parse_arguments(description)
    search = search_settings.from_arguments(args)
    paths = [*args.images, *args.image_path]
    if args.watch is not None or args.stdin:
        excluded = {"pictures": paths, "--beside": args.beside, "--output": args.output}
        excluded |= {"--embed": args.embed, "--attention": args.attention}
        for name, value in excluded.items():
            if value:
                raise UserError(f"{name}: not with --watch or --stdin, which print lines of JSON")
        return stay(args, search)
    from captioning.files import EXAMPLES, PRETRAINED, check_writable
    from captioning.images.folders import list_images
    from captioning.output import captions, embedding
    from captioning.output.sheets import check_sheet

    # 1. What is asked for. Mistakes come to light before the work.
    paths = paths or [EXAMPLES]
    images = list_images(paths)
    outputs = [Path(output) for output in args.output]
    for output in outputs:
        captions.check_output(output, images)
        check_writable(output)
    if args.attention:
        if len(images) > MOST_LOOKS:
            raise UserError(f"--attention draws up to {MOST_LOOKS} pictures, not {len(images)}")
        if Path(args.attention).suffix != ".png":
            raise UserError(f"{args.attention}: --attention writes a PNG; end the name in .png")
        check_writable(args.attention)
        check_sheet(args.attention)
    copies = embedding.plan(Path(args.embed), paths, images) if args.embed is not None else {}
    model, encoder = load_first(args, search)
    second = load(Path(args.beside), args, search) if args.beside else None

    # 2. The captions.
    from captioning.captioners.loading import SHIPPED
    from captioning.output.caption_image_files import caption_and_print, check_all_captioned

    results, failed = caption_and_print(model, encoder, images, search)
    if all(not result.caption or result.confidence < USELESS for result in results):
        print(
            "captions like these come from a model that has learned too little: train it on more "
            f"pictures or longer, or use the shipped one: --model {PRETRAINED / SHIPPED}"
        )
    if second is not None:
        print(f"beside, model {args.beside}")
        others, also_failed = caption_and_print(*second, [r.path for r in results], search)
        other_captions = {other.path: other.caption for other in others}
        name, failed = Path(args.beside).stem, failed + also_failed
        results = [r._replace(beside={name: other_captions.get(r.path, "")}) for r in results]

    # 3. What they are written to.
    for output in outputs:
        captions.write_captions(output, results)
        print(f"wrote {output}")
    if args.attention:
        from captioning.output import heatmaps

        heatmaps.draw(model, encoder, results, args.attention)
        print(f"wrote {args.attention}: where the model looked for each word")
    uncopied = embedding.write(results, copies) if copies else ()
    check_all_captioned(results, failed, uncopied)
