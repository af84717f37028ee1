"""The two Java programs of the COCO caption toolkit, its tokenizer and METEOR, over pipes.

pycocoevalcap's own wrappers write a temporary file into the package's folder, and wait for ever
when the virtual machine hangs or has died. Here nothing is written, and a program that gives no
answer in time is killed together with whatever it started.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

# Without it the virtual machine reads and writes in the user's locale, up to Java 17.
_UTF8 = "-Dfile.encoding=UTF-8"


class JavaFailed(Exception):
    """Java gave no answer; the message says why in a few words."""


class JavaProgram:
    """A running Java program. Use it in a `with` block, at whose end it is killed.

    Args:
        arguments: what follows `java` on its command line.
        patience: seconds to wait for an answer.

    Raises:
        JavaFailed: there is no Java, or it cannot be started. So do the methods, when the program
            ends, hangs or gives too few lines; it is of no use after that.
    """

    def __init__(self, arguments: Sequence[str], patience: float) -> None:
        self.patience = patience
        self.timed_out = False
        java = shutil.which("java")
        if java is None:
            raise JavaFailed("needs Java")
        # A pipe for the errors, which nobody reads, would fill up.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [java, _UTF8, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                start_new_session=True,  # `java` may be a script, and its child has to go as well
            )  # fmt: skip
        except OSError as error:
            raise JavaFailed(f"Java cannot be started: {error.strerror}") from error

    def __enter__(self) -> "JavaProgram":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Kill the program, whatever it is doing."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # unsent input to a dead program
                pipe.close()
        self._process.wait()

    def ask(self, line: str, answers: int = 1) -> list[str]:
        """Send a line and read as many as the program answers it with."""
        with self._watched():
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
            found = [self._process.stdout.readline() for _ in range(answers)]
        if not all(answer.endswith(b"\n") for answer in found):
            raise JavaFailed(self._reason())
        return [answer.decode(errors="replace").strip() for answer in found]

    def ask_all(self, lines: Sequence[str]) -> list[str]:
        """Send all lines, which ends the program's input, and read a line for each."""
        with self._watched():
            output, _ = self._process.communicate("\n".join(lines).encode())
        answers = output.decode(errors="replace").split("\n")
        if self._process.returncode != 0 or len(answers) != len(lines):
            raise JavaFailed(self._reason())
        return answers

    @contextlib.contextmanager
    def _watched(self):
        """Kill the program if the block takes too long, which ends any reading from it."""
        timer = threading.Timer(self.patience, self._give_up)
        timer.start()
        try:
            yield
        except OSError as error:  # the pipe to a dead program
            raise JavaFailed(self._reason()) from error
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _reason(self) -> str:
        if self.timed_out:
            return f"Java gave no answer in {self.patience:g} s"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if not line.startswith("Picked up ")]
        return f"Java failed: {said[0] if said else 'it said nothing':.120}"


def tokenise(jar: Path, lines: Sequence[str], patience: float) -> list[str]:
    """Lines as the PTBTokenizer of Stanford CoreNLP 3.4.1 splits them, lower case, in order.

    The lexer may look on into the next line, so that what a line becomes can depend on it.

    Raises:
        JavaFailed: there is no Java, or it gave no answer within `patience` seconds.
    """
    program = "edu.stanford.nlp.process.PTBTokenizer -preserveLines -lowerCase"
    with JavaProgram(["-cp", str(jar), *program.split()], patience) as java:
        return java.ask_all(lines)


class Meteor(JavaProgram):
    """METEOR 1.5 (Denkowski and Lavie, 2014) as the toolkit runs it; it serves many corpora.

    Starting takes seconds and 2 GB: it reads a table of 62 MB of paraphrases.
    """

    def __init__(self, jar: Path, patience: float) -> None:
        super().__init__(["-jar", "-Xmx2G", str(jar), *"- - -stdio -l en -norm".split()], patience)

    def count(self, references: Sequence[str], caption: str) -> str:
        """The program's counts of matches of one tokenised caption, as `total` takes them."""
        caption = caption.replace("|||", "").replace("  ", " ")
        return self.ask(" ||| ".join(["SCORE", *references, caption]))[0]

    def total(self, counts: Sequence[str]) -> float:
        """The score of a corpus, from the `count` of each caption."""
        # It answers with each caption's score, then the corpus's.
        *_, score = self.ask(" ||| ".join(["EVAL", *counts]), len(counts) + 1)
        try:
            return float(score)
        except ValueError as error:
            raise JavaFailed(f"METEOR answered '{score:.60}'") from error
