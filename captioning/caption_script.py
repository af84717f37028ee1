"""The script that captions: what `5_test.py` and `infer.py` both are."""

import contextlib
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from captioning.arguments import positive_int, shared
from captioning.cli import ArgumentParser, UserError, import_keras, printable
from captioning.decoders import search_settings
from captioning.evaluation.confidence import CONFIDENT

MOST_LOOKS = 40  # pictures that --attention draws
MANY = 128  # images from which on there is a progress bar: their captions come by so many


def parse_arguments(description: str) -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(description, epilog="example: python %(prog)s photo.jpg")
    add = parser.add_argument
    image = "IMAGE_OR_FOLDER"
    add("images", nargs="*", metavar=image, help="images to caption; default: examples/")
    add("--image-path", nargs="+", default=[], metavar=image, help="the same, as an option")
    stay = parser.add_mutually_exclusive_group()
    what = "keep running: print a line of JSON for each image that is in the folder or is added"
    stay.add_argument("--watch", metavar="FOLDER", help=what)
    what = "keep running: print a line of JSON for each path on a line of standard input"
    stay.add_argument("--stdin", action="store_true", help=what)
    add("--new-only", action="store_true", help="with --watch: only images added from now on")
    add("--model", "--model-path", help="default: checkpoints/best_model.keras, or Pre-trained/'s")
    add("--beside", metavar="MODEL", help="second model, for comparison")
    shared(parser, "--tokenizer", "--encoder", "--weights")
    search_settings.add_arguments(parser, beam_width=None)
    add("--captions", type=positive_int, default=1, metavar="N", help="captions, best first")
    what = "also write the captions to .json, .csv, .html (a page) or .png (a contact sheet)"
    add("--output", nargs="+", default=[], metavar="FILE", help=what)
    add("--embed", metavar="FOLDER", help="copy the images there, with the caption inside")
    what = f"with --embed: copy only images whose caption has confidence {CONFIDENT} or more"
    add("--only-confident", action="store_true", help=what)
    add("--attention", metavar="FILE.png", help="draw the attention map of each word")
    return parser.parse_args()


def load(args: Namespace, path: str | None = None):
    """The captioner of --model, or the one that is found; or the second one at `path`."""
    import_keras()
    from captioning.captioner import Captioner
    from captioning.captioners.loading import find_captioner

    options = {"search": search_settings.from_arguments(args), "tokenizer": args.tokenizer}
    first = path is None
    if first:
        path = Path(args.model or find_captioner())
        print(f"model {path}" + ("" if args.model else "; for another: --model FILE"))
        options |= {"encoder": args.encoder, "weights": args.weights, "captions": args.captions}
    captioner = Captioner(path, **options)
    if args.expected_words:
        captioner.search.check_ranking(captioner.model, path)
    if first and args.attention and not captioner.model.grid:
        raise UserError(
            f"{path}: reads one vector a picture and looks nowhere in particular; train a model "
            "with --decoder attention or transformer to see where it looks"
        )
    return captioner


def stay(args: Namespace) -> None:
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
            captioner = load(args)
            if args.watch is not None:
                print(f"watching {args.watch}, {len(there)} images in it; stop with Ctrl-C")
        watching.answer(captioner, names)


def caption_and_print(captioner, paths: Sequence[Path]) -> tuple[list, list[str]]:
    """Caption images, printing each caption with its confidence.

    Returns:
        The captions, and why there is none of the other images.

    Raises:
        UserError: there is none at all.
    """
    results, unreadable = [], []
    with tqdm(total=len(paths), unit="image", disable=len(paths) < MANY) as bar:
        for result in captioner.stream(paths):
            bar.update()
            if isinstance(result, Exception):
                unreadable.append(str(result))
            else:
                results.append(result)
                bar.write(f"{printable(result.path)}: {result}")
    if not results:
        raise UserError(f"{len(unreadable)} of {len(paths)} pictures failed; {unreadable[0]}")
    return results, unreadable


def check_all_captioned(
    paths: Sequence[Path], results: list, unreadable: list[str], uncopied: list[str]
) -> None:
    """Name the images that failed, or have no copy, after what there is has been written.

    Raises:
        UserError: there are some.
    """
    messages = [f"skipped: {message}" for message in unreadable]
    messages += [f"no copy: {message}" for message in uncopied]
    if not messages:
        return
    for message in messages[:-1]:
        print(printable(message), file=sys.stderr)
    summary = f"{len(uncopied)} of {len(results)} captioned pictures have no copy"
    if unreadable:
        summary = f"{len(unreadable)} of {len(paths)} pictures failed; "
        summary += "the others have their captions"
    raise UserError(f"{summary}; {messages[-1]}")


def caption_images(description: str) -> None:
    """Caption what the command line names, and write what it asks for."""
    args = parse_arguments(description)
    search_settings.from_arguments(args)  # mistakes come to light before Keras does
    given = [*args.images, *args.image_path]
    if args.only_confident and args.embed is None:
        raise UserError("--only-confident: is of the copies of --embed, which is missing")
    if args.new_only and args.watch is None:
        raise UserError("--new-only: is of --watch, which is missing")
    if args.watch is not None or args.stdin:
        once = {"--output": args.output, "--embed": args.embed, "--attention": args.attention}
        once |= {"--captions": args.captions > 1, "--beside": args.beside}
        for what, value in {"pictures": given, **once}.items():
            if value:
                raise UserError(f"{what}: not with --watch or --stdin, which print lines of JSON")
        return stay(args)
    from captioning.files import EXAMPLES, check_writable
    from captioning.images.folders import list_images
    from captioning.output import captions, embedding
    from captioning.output.sheets import check_sheet

    # 1. What is asked for. Mistakes come to light before the work.
    given = given or [EXAMPLES]
    images = list_images(given)
    outputs = [Path(output) for output in args.output]
    for output in outputs:
        captions.check_output(output, images)
        check_writable(output)
    if args.attention:
        if len(images) > MOST_LOOKS:
            raise UserError(f"--attention draws up to {MOST_LOOKS} pictures, not {len(images)}")
        check_writable(args.attention, ".png")
        check_sheet(args.attention)
    planned = embedding.plan(Path(args.embed), given, images) if args.embed is not None else {}
    captioner = load(args)
    second = load(args, args.beside) if args.beside else None

    # 2. The captions.
    results, failed = caption_and_print(captioner, images)
    if second is not None:
        print(f"second model {args.beside}")
        others, also_failed = caption_and_print(second, [result.path for result in results])
        theirs = {other.path: other.caption for other in others}
        name, failed = Path(args.beside).stem, failed + also_failed
        results = [one._replace(beside={name: theirs.get(one.path, "")}) for one in results]

    # 3. What they are written to.
    for output in outputs:
        captions.write_captions(output, results)
        print(f"wrote {output}")
    if args.attention:
        from captioning.output import heatmaps

        heatmaps.draw(captioner.model, captioner.encoder, results, args.attention)
        print(f"wrote {args.attention}: an attention map per word")
    embedded = [result for result in results if not (args.only_confident and result.unsure)]
    uncopied = embedding.write(embedded, planned) if planned else []
    check_all_captioned(images, results, failed, uncopied)
