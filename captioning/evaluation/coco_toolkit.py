"""The figures that everybody reports: BLEU, METEOR, ROUGE-L and CIDEr-D of the COCO toolkit.

The scorers are those of pycocoevalcap 1.2, the toolkit of Chen et al., "Microsoft COCO Captions:
Data Collection and Evaluation Server" (arXiv 1504.00325), packaged. With Java, captions are
tokenised by the toolkit's own program, and every figure equals the toolkit's. Without it they are
tokenised by `captioning.ptb`, which agrees on ordinary captions, and there is no METEOR.
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from captioning.cli import UserError
from captioning.evaluation.java import JavaFailed, Meteor, tokenise
from captioning.evaluation.metrics import METRICS
from captioning.ptb import ptb_tokenize

FIGURES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")


class Scores(NamedTuple):
    """What one set of captions got."""

    figures: dict[str, float | None]  # by `FIGURES`; None for METEOR where Java is not to be had
    others: dict[str, float]  # by `metrics.METRICS`
    cider: dict[str, float]  # CIDEr-D of each image's caption; their mean is the figure


class CocoToolkit:
    """The toolkit's scorers. Use it in a `with` block, at whose end Java is stopped.

    Args:
        patience: seconds to wait for an answer from Java.

    Attributes:
        without_java: why captions are not tokenised by Java, or None as long as they are. After a
            failure it is not tried again.
        without_meteor: likewise why there is no METEOR.

    Raises:
        UserError: pycocoevalcap is not installed.
    """

    def __init__(self, patience: float = 120.0) -> None:
        package = importlib.util.find_spec("pycocoevalcap")
        if package is None:
            raise UserError(
                "the COCO toolkit's scorers are not installed: "
                "pip install -r requirements-evaluate.txt"
            )
        self.version = importlib.metadata.version("pycocoevalcap")
        self.folder = Path(next(iter(package.submodule_search_locations)))
        self.patience = patience
        self.without_java: str | None = None
        self.without_meteor: str | None = None
        self._meteor: Meteor | None = None

    def __enter__(self) -> "CocoToolkit":
        return self

    def __exit__(self, *_) -> None:
        if self._meteor is not None:
            self._meteor.close()

    def score(
        self, references: Mapping[str, Sequence[str]], captions: Mapping[str, str], name: str = ""
    ) -> Scores:
        """Score raw captions against raw references, both by `image_id`.

        Only the references of the images that have a caption count, for CIDEr-D's document
        frequencies as well. `name` is what the progress bar calls these captions.

        Raises:
            UserError: no reference holds a word.
        """
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        wanted = {image_id: references[image_id] for image_id in captions}
        candidates = {image_id: [text] for image_id, text in captions.items()}
        wanted, candidates = self._tokenise(wanted, candidates)
        if not any(text for texts in wanted.values() for text in texts):
            raise UserError("none of the references of these images holds a word")

        bleu, _ = Bleu(4).compute_score(wanted, candidates, verbose=0)
        rouge, _ = Rouge().compute_score(wanted, candidates)
        cider, each = Cider().compute_score(wanted, candidates)  # with CIDEr-D's sigma and clipping
        meteor = self._score_meteor(wanted, candidates, name)
        found = [*map(float, bleu), meteor, float(rouge), float(cider)]
        return Scores(
            dict(zip(FIGURES, found, strict=True)),
            {key: metric.value(wanted, candidates) for key, metric in METRICS.items()},
            dict(zip(captions, map(float, each), strict=True)),
        )

    def _tokenise(self, *corpora: Mapping[str, Sequence[str]]) -> list[dict[str, list[str]]]:
        """Each corpus in the toolkit's tokens, all of them by Java or none."""
        corpora = [
            {image_id: [one_line(text) for text in texts] for image_id, texts in corpus.items()}
            for corpus in corpora
        ]
        if self.without_java is None:
            try:
                return [self._tokenise_by_java(corpus) for corpus in corpora]
            except JavaFailed as failure:
                self.without_java = self.without_meteor = str(failure)
        return [
            {
                image_id: [" ".join(ptb_tokenize(text)) for text in texts]
                for image_id, texts in corpus.items()
            }
            for corpus in corpora
        ]

    def _tokenise_by_java(self, corpus: dict[str, list[str]]) -> dict[str, list[str]]:
        from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

        jar = self.folder / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR
        lines = [text for texts in corpus.values() for text in texts]
        tokenised = iter(tokenise(jar, lines, self.patience))

        def next_caption() -> str:
            words = next(tokenised).rstrip().split(" ")
            return " ".join(word for word in words if word not in PUNCTUATIONS)

        return {image_id: [next_caption() for _ in texts] for image_id, texts in corpus.items()}

    def _score_meteor(self, references: dict, candidates: dict, name: str) -> float | None:
        from pycocoevalcap.meteor.meteor import METEOR_JAR

        if self.without_meteor is not None:
            return None
        try:
            if self._meteor is None:
                jar = self.folder / "meteor" / METEOR_JAR
                self._meteor = Meteor(jar, self.patience)
            bar = tqdm(candidates.items(), f"METEOR {name}".rstrip(), unit=" captions", leave=False)
            counts = [self._meteor.count(references[image_id], text) for image_id, [text] in bar]
            return self._meteor.total(counts)
        except JavaFailed as failure:
            self.without_meteor = str(failure)
            return None


def one_line(text: str) -> str:
    """A caption with single spaces: a line break in it would shift all captions after it."""
    # Half a surrogate pair, which JSON can hold, is in no encoding.
    return " ".join(text.encode(errors="replace").decode().split())
