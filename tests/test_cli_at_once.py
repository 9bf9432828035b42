"""What is wrong with a command's words is told before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LINES = """
shrink nonsense
shrink absent_module:factory
shrink eresfd --ckpt nowhere.pth
shrink eresfd --photo nowhere.jpg
shrink eresfd --photo .
shrink eresfd --rate 1.5
shrink eresfd --rate nan
shrink eresfd --size 0x0
shrink eresfd --size 99999999999999999999x5
shrink eresfd --formats nonsense
shrink eresfd --rewrites nonsense
shrink eresfd --calibration nowhere
shrink eresfd --data nowhere
shrink eresfd --out a.txt
shrink eresfd --out a.txt/b
shrink eresfd --recipe .
inspect nowhere.pth
inspect a.txt --model nonsense
check nowhere
check . --target nonsense
check . --photo nowhere.jpg
bench nowhere
bench a.txt
bundle nowhere
bundle . --target nonsense
verify nowhere
compare nowhere
compare . --target nonsense
gate nowhere --baseline a.json
gate . --baseline nowhere.json
evaluate nowhere.pth --data .
evaluate nowhere.pth --data nowhere
tables --data nowhere --weights .
train eresfd --data nowhere
train eresfd --data . --teacher nowhere.pth
train eresfd --data . --rate 1
sweep eresfd --data nowhere
calibrate nowhere --ssh a@b
setup-arm --target nonsense
cost nonsense
cost eresfd --ckpt nowhere.pth
plan eresfd
plan eresfd --latency many
plan nonsense --parameters 52k
recommend nonsense
recommend .
recommend --target nonsense
recommend --min-ap 85
"""

PROGRAM = """
import json, sys
from toolchain import cli
found = {}
for line in json.loads(sys.argv[1]):
    found[line] = [cli.run(line.split()), "torch" in sys.modules]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_wrong_words_do_not_wait_for_torch(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    lines = LINES.strip().splitlines()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {line: [2, False] for line in lines}, done.stderr
    assert len(done.stderr.splitlines()) == len(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
