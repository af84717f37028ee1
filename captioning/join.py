"""Join models of stage 2 that were trained from other seeds into one, an ensemble.

python -m captioning.join A.keras B.keras C.keras --output model-ensemble.keras
"""

from pathlib import Path

from captioning.cli import ArgumentParser, UserError, import_keras, run


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help=".keras files of stage 2, of other seeds")
    parser.add_argument("--output", required=True, help="the .keras file to write")
    args = parser.parse_args()
    if len(args.models) < 2:
        raise UserError(f"{args.models[0]}: one model is no ensemble; give two or more")
    if Path(args.output).suffix != ".keras":
        raise UserError(f"{args.output}: end the name in .keras")
    from captioning.files import atomic_path, check_writable

    check_writable(args.output)
    import_keras()
    from captioning.captioners.loading import check_encoder, load_captioner
    from captioning.decoders.ensemble import Ensemble, join

    first, *others = models = [load_captioner(path) for path in args.models]
    for path, decoder in zip(args.models, models, strict=True):
        if isinstance(decoder, Ensemble):
            raise UserError(f"{path}: is an ensemble itself; give its members")
    for path, decoder in zip(args.models[1:], others, strict=True):
        if (decoder.vocabulary, decoder.feature_shape) != (first.vocabulary, first.feature_shape):
            raise UserError(f"{path}: has other words or features than {args.models[0]}")
        check_encoder(first.encoder, Path(args.models[0]), decoder.encoder, path)
    with atomic_path(args.output) as temporary:
        join(models).save(temporary)
    print(f"{args.output}: {len(models)} decoders as one")


if __name__ == "__main__":
    run(main)
