"""The figures that everybody reports: BLEU, METEOR, ROUGE-L and CIDEr-D of the COCO toolkit.

The scorers are those of pycocoevalcap 1.2, the toolkit of Chen et al., "Microsoft COCO Captions:
Data Collection and Evaluation Server" (arXiv 1504.00325), packaged. With Java, captions are
tokenised by the toolkit's own program, and every figure equals the toolkit's. Without it they are
tokenised by `captioning.ptb`, which agrees on ordinary captions, and there is no METEOR.

The toolkit's wrappers of its two Java programs wait for ever when Java hangs, read numbers in the
user's locale, and write into the package's folder, so the programs are run here.
"""

import importlib.metadata
import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from captioning.cli import UserError
from captioning.evaluation.metrics import METRICS, Texts
from captioning.ptb import ptb_tokenize

FIGURES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")


class Scores(NamedTuple):
    """What one set of captions got.

    Attributes:
        figures: by `FIGURES`, then by `metrics.METRICS`; None: METEOR without Java, CIDEr-D of a
            single image.
        cider: of each image's caption; their mean is the figure.
    """

    figures: dict[str, float | None]
    cider: dict[str, float | None]


class JavaFailed(Exception):
    """Java gave no answer; the message says why in a few words."""


class CocoToolkit:
    """The toolkit's scorers.

    Args:
        patience: seconds that Java may take for all captions, to tokenise them or for METEOR.

    Attributes:
        without_java: why captions were not tokenised by Java, or None if they were.
        without_meteor: likewise why there is no METEOR.

    Raises:
        UserError: pycocoevalcap is not installed.
    """

    def __init__(self, patience: float = 600.0) -> None:
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

    def score(self, rows: Sequence[tuple[Texts, Mapping[str, str]]]) -> list[Scores]:
        """Score rows of raw references and raw captions, both by `image_id`.

        Only the references of the images that have a caption count, for CIDEr-D's document
        frequencies as well.

        Raises:
            UserError: no reference of a row holds a word.
        """
        corpora = []
        for references, captions in rows:
            wanted = {name: list(map(one_line, references[name])) for name in captions}
            corpora += [wanted, {name: [one_line(text)] for name, text in captions.items()}]
        try:
            tokens = [self._tokenize(corpus) for corpus in corpora]
        except JavaFailed as failure:
            self.without_java = self.without_meteor = str(failure)
            tokens = [
                {name: [" ".join(ptb_tokenize(text)) for text in corpus[name]] for name in corpus}
                for corpus in corpora
            ]
        pairs = list(zip(tokens[::2], tokens[1::2], strict=True))
        if not all(any(map(any, references.values())) for references, _ in pairs):
            raise UserError("none of the references of these images holds a word")
        return list(map(self._score, tokens[::2], tokens[1::2], self._meteor(pairs)))

    def _score(self, references: Texts, captions: Texts, meteor: float | None) -> Scores:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        bleu, _ = Bleu(4).compute_score(references, captions, verbose=0)
        rouge, _ = Rouge().compute_score(references, captions)
        cider, each = Cider().compute_score(references, captions)  # with CIDEr-D's sigma, clipping
        cider, each = float(cider), list(map(float, each))
        if len(captions) == 1:  # then each n-gram is in every image, and says nothing of it
            cider, each = None, [None]
        values = [*map(float, bleu), meteor, float(rouge), cider]
        figures = dict(zip(FIGURES, values, strict=True))
        figures |= {key: metric.value(references, captions) for key, metric in METRICS.items()}
        return Scores(figures, dict(zip(captions, each, strict=True)))

    def _tokenize(self, corpus: Texts) -> Texts:
        """A corpus as Stanford CoreNLP 3.4.1 tokenises it, lower case, without punctuation.

        The lexer may look on into the next line, so that what a line becomes can depend on it.
        """
        from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

        jar = self.folder / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR
        program = "edu.stanford.nlp.process.PTBTokenizer -preserveLines -lowerCase"
        lines = [text for texts in corpus.values() for text in texts]
        answers = self._run_java(["-cp", str(jar), *program.split()], lines, len(lines))
        tokens = (
            " ".join(word for word in answer.rstrip().split(" ") if word not in PUNCTUATIONS)
            for answer in answers
        )
        return {image_id: list(islice(tokens, len(texts))) for image_id, texts in corpus.items()}

    def _meteor(self, pairs: Sequence[tuple[Texts, Texts]]) -> list[float | None]:
        """METEOR 1.5 (Denkowski and Lavie, 2014) of each pair, as the toolkit runs it.

        Java's start takes seconds and 2 GB. So it starts once to count the matches in all captions,
        and once to make scores of the counts.
        """
        from pycocoevalcap.meteor.meteor import METEOR_JAR

        if self.without_meteor is not None:
            return [None] * len(pairs)
        arguments = ["-jar", "-Xmx2G", str(self.folder / "meteor" / METEOR_JAR)]
        arguments += "- - -stdio -l en -norm".split()
        captions = [
            " ||| ".join(["SCORE", *references[name], text.replace("|||", "").replace("  ", " ")])
            for references, candidates in pairs
            for name, [text] in candidates.items()
        ]
        sizes = [len(candidates) for _, candidates in pairs]
        try:
            counts = iter(self._run_java(arguments, [*captions, ""], len(captions) + 1))
            rows = [" ||| ".join(["EVAL", *islice(counts, size)]) for size in sizes]
            # It answers each with the score of every caption, then that of the row.
            ends = list(accumulate(size + 1 for size in sizes))
            scores = self._run_java(arguments, [*rows, ""], ends[-1] + 1)
            return [float(scores[end - 1]) for end in ends]
        except (JavaFailed, ValueError) as failure:
            self.without_meteor = str(failure)
            return [None] * len(pairs)

    def _run_java(self, arguments: Sequence[str], lines: Sequence[str], answers: int) -> list[str]:
        """What a Java program answers `lines` with, which must be `answers` lines."""
        # Else it reads and writes in the user's locale: text up to Java 17, and numbers always.
        options = ["-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]
        command, text = ["java", *options, *arguments], "\n".join(lines).encode()
        try:
            ended = subprocess.run(command, input=text, capture_output=True, timeout=self.patience)
        except subprocess.TimeoutExpired as error:
            raise JavaFailed(f"Java gave no answer in {self.patience:g} s") from error
        except OSError as error:
            raise JavaFailed("needs Java") from error
        answered = ended.stdout.decode(errors="replace").split("\n")
        if ended.returncode != 0 or len(answered) != answers:
            errors = ended.stderr.decode(errors="replace").splitlines()
            messages = [line.strip() for line in errors if not line.startswith("Picked up ")]
            raise JavaFailed(f"Java failed: {messages[0] if messages else 'it said nothing':.120}")
        return answered


def one_line(text: str) -> str:
    """A caption with single spaces: a line break in it would shift all captions after it."""
    # Half a surrogate pair, which JSON can hold, is in no encoding.
    return " ".join(text.encode(errors="replace").decode().split())
