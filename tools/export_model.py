#!/usr/bin/env python3
"""Export models of stage 2 as one .keras file in half precision: half the size, the same captions.

    python tools/export_model.py checkpoints/best_model.keras --output model.keras
    python tools/export_model.py A.keras B.keras C.keras --output model-ensemble.keras

Several, trained from other seeds, become one, an ensemble.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import shared
from captioning.cli import ArgumentParser, UserError, import_keras, run


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    what = ".keras files of stage 2; several, of different seeds, become an ensemble"
    parser.add_argument("models", nargs="+", metavar="FILE.keras", help=what)
    shared(parser, "--output", required=True, help="output .keras file")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    for path in (*args.models, args.output):
        if Path(path).suffix != ".keras":
            raise UserError(f"{path}: give a .keras file")
    from captioning.files import check_writable

    check_writable(args.output)
    import_keras()
    from captioning.captioners.loading import check_encoder, load_captioner
    from captioning.captioners.saving import save_half
    from captioning.decoders.ensemble import Ensemble, join

    first, *others = models = [load_captioner(path) for path in args.models]
    for path, decoder in zip(args.models, models, strict=True):
        if (decoder.vocabulary, decoder.feature_shape) != (first.vocabulary, first.feature_shape):
            raise UserError(f"{path}: has other words or features than {args.models[0]}")
        check_encoder(first.encoder, Path(args.models[0]), decoder.encoder, path)
        if others and isinstance(decoder, Ensemble):
            raise UserError(f"{path}: is an ensemble itself; give its members")
    save_half(join(models) if others else first, args.output)
    print(f"{args.output}: {len(models)} decoders in half precision")


if __name__ == "__main__":
    run(main)
