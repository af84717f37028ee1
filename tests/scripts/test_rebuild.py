"""`Pre-trained/rebuild.sh`: every command has arguments that its script takes."""

import json
import os
import runpy
import subprocess
import sys

from tests.conftest import ROOT

STUB = f"""#!{sys.executable}
import json, sys
with open("calls.jsonl", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""


def test_every_command_of_the_recipe_has_arguments_that_its_script_takes(tmp_path, monkeypatch):
    for name in ("everyday/dev.txt", "data/flickr8k/Flickr8k_text/Flickr_8k.devImages.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1.jpg\n2.jpg\n3.jpg\n")
    weights = tmp_path / "out" / "fine" / "checkpoints" / "efficientnet_lite0-captions.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (tmp_path / "python").write_text(STUB)
    (tmp_path / "python").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    recipe = ["sh", str(ROOT / "Pre-trained" / "rebuild.sh"), "everyday", "out", "7"]
    subprocess.run(recipe, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)

    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == 10
    assert (tmp_path / "out" / "everyday-odd.txt").read_text() == "1.jpg\n3.jpg\n"
    assert (tmp_path / "out" / weights.name).exists()
    for script, *arguments in calls:
        functions = runpy.run_path(str(ROOT / script))
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        functions["parse_arguments"]()
        assert "--limit" in arguments or "export_model" in script
