"""From a network with zeros to files for a board: shrunk, proved, saved, exported, and back.

python -m toolchain.recipes.examples.shrink_and_export
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import toolchain as tc


class Segmenter(nn.Module):
    """Tells foreground from background at a quarter of the size."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, 2, H / 4, W / 4)."""
        logits: Tensor = self.head(self.body(self.stem(image)))
        return logits


def main(folder: Path) -> tuple[tc.Shrunk, nn.Module, tc.Exported]:
    """Make the files in ``folder``; return the smaller network, its copy from disk, and them."""
    torch.manual_seed(0)
    example, photos = torch.zeros(1, 3, 64, 64), torch.randn(24, 3, 64, 64)  # normalised pixels
    network = Segmenter().eval()  # stands for a trained one
    soft = tc.prune(network, example, rate=0.25, ignored=["head"])

    small = tc.shrink(soft, example)
    print(small.report)
    print(small.proof)

    path = tc.save(small, folder / "small.safetensors")
    again = tc.load(path, Segmenter)  # in another program: without the surgery, ready to train

    files = tc.export(small, folder / "out", formats=["onnx", "int8"], calibration=photos)
    print("complete" if files.complete else files.certificate.failures)
    return small, again, files


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
