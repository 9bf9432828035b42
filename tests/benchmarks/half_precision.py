"""What half precision costs an ncnn file in average precision: found on an emulated board.

``python -m tests.benchmarks.half_precision out/eresfd/model_ncnn --data WIDER --out out/half``: a
processor that computes in half precision is emulated, and the network alone runs there, in half
precision or, with ``--single``, in float32; photos are prepared, and boxes decoded, by this machine
as ``toolchain evaluate`` does. Photos that are done are kept, so a run that was stopped goes on.
``toolchain score OUT/detections --data WIDER`` scores them; ``toolchain evaluate`` tells what this
machine finds in float32.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import half_guest
from toolchain.arm.emulation import board_program, emulator_environment, guest_python
from toolchain.arm.sysroot import Sysroot, prepare
from toolchain.arm.targets import Target, find_target
from toolchain.data.detections import has_detections, write_detections
from toolchain.data.wider import read_split
from toolchain.deploy import detect
from toolchain.detection.finders import RawNetwork, network_finder
from toolchain.detection.protocols import PROTOCOLS, detections
from toolchain.records.run_folder import model_file
from toolchain.system.caches import arm_cache


class Emulated:
    """An ncnn file that stays open on an emulated board; use it in a ``with``."""

    def __init__(self, path: Path, target: Target, sysroot: Sysroot, *, half: bool) -> None:
        self.runner = detect.NcnnRunner(path, 1, half=False)
        self.folder = tempfile.TemporaryDirectory()
        packages = [sysroot.site, board_program(Path(self.folder.name))]
        python = guest_python(target, sysroot, packages=packages)
        mode = "half" if half else "single"
        self.process = subprocess.Popen(
            [*python, half_guest.__file__, str(path.absolute()), mode],
            env=emulator_environment(sysroot),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Emulated:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def __call__(self, tensor: Any) -> tuple[Any, Any]:
        """Return both outputs of an input float32 (1, C, H, W), without the axis of pictures."""
        half_guest.write(self.process.stdin, self.runner.fed(np.asarray(tensor, np.float32)))
        assert self.process.stdin is not None
        self.process.stdin.flush()
        first, second = (half_guest.read(self.process.stdout) for _ in range(2))
        if first is None or second is None:
            raise SystemExit("the emulated board ended; what it said is above")
        return first[0], second[0]


def main() -> None:
    """Run the photos that are not done yet, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", default="rpi5")
    parser.add_argument("--single", action="store_true", help="float32, on the same core")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    target, path, protocol = find_target(asked.target), model_file(asked.model), PROTOCOLS["single"]
    sysroot = prepare(target, arm_cache(), print)
    specification = detect.specification_of(detect.open_network(path, 1))
    photos = read_split(asked.data, "val").spread(asked.limit).images
    folder = asked.out / "detections"
    waiting = [photo for photo in photos if not has_detections(folder, photo.name)]
    print(f"{len(photos) - len(waiting)} of {len(photos)} are done", flush=True)
    start = time.perf_counter()
    with Emulated(path, target, sysroot, half=not asked.single) as network:
        run: RawNetwork = network
        finder = network_finder(run, specification, protocol)
        for number, photo in enumerate(waiting, start=1):
            found = detections(finder, detect.read_image(photo.path, upright=False), protocol)
            write_detections(folder, photo.name, found)
            if number % 20 == 0 or number == len(waiting):
                each = (time.perf_counter() - start) / number
                print(f"{number} of {len(waiting)}, {each:.2f} s each", flush=True)


if __name__ == "__main__":
    main()
