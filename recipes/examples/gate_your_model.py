"""A CI gate of a network of one's own: proved, run on an emulated board, held against a baseline.

python -m toolchain.recipes.examples.gate_your_model baseline.json

Exits with 1 where the network costs more than the baseline, which the first run writes: commit it.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import toolchain as tc

MOST = {"instructions": 1.005, "size_bytes": 1.01, "peak_memory_bytes": 1.1}
"""How much of the baseline each figure may be."""


def trained(width: int) -> nn.Module:
    """Return the network that is to be gated; load the weights of yours here."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Conv2d(width, 4, 3))
    return tc.prune(network.eval(), torch.zeros(1, 3, 32, 32), rate=0.25)


def main(baseline: Path, folder: Path, width: int = 8) -> int:
    """Return the exit code: 0, or 1 where a figure got worse or the board gives other outputs."""
    try:
        small = tc.shrink(trained(width), torch.zeros(1, 3, 32, 32))
        files = tc.export(small, folder, formats=["onnx"])
        found = tc.check(files, target="rpi4")
    except tc.ToolchainError as error:  # a proof that fails, a file that cannot be made
        print(error, file=sys.stderr)
        return error.exit_code
    main_file = found.main
    figures = {
        "instructions": main_file.instructions_per_inference,
        "size_bytes": main_file.size_bytes,
        "peak_memory_bytes": main_file.peak_memory_bytes,
    }
    if not baseline.exists():
        baseline.write_text(json.dumps(figures, indent=2))
    before = json.loads(baseline.read_text())
    worse = [name for name, most in MOST.items() if figures[name] > most * before[name]]
    for name in figures:
        print(f"{name}: {before[name]:,} -> {figures[name]:,}{' WORSE' * (name in worse)}")
    return 0 if found.passed and not worse else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(Path(sys.argv[1]), Path(place) / "out"))
