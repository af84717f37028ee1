#!/usr/bin/env python3
"""Stage 2: a caption decoder for the vectors of Jigsaw_feature_extraction.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage


def defaults(method: str, run: Path) -> list[str | Path]:
    folder = run / method
    return ["--features", folder / "features.pkl", "--descriptions", folder / "descriptions.txt",
            "--output-dir", folder]  # fmt: skip


if __name__ == "__main__":
    run_stage("2_train_IC_model.py", __doc__, defaults)
