"""Runs on the emulated board, with what ``detect.py`` needs: its stages, counted one by one.

``python stages.py PROGRAM MODEL PICTURE RUNS``: fits the picture into the input, runs the network,
decodes its outputs, each between the marks that the counting plugin looks for, in this order.
"""

from __future__ import annotations

import sys

import guest


def main() -> None:
    """Do all of it."""
    program, model, picture, runs = sys.argv[1:5]
    sys.path.insert(0, program)  # an archive, read as a folder is
    from detector.decoding import decode
    from detector.detecting import Detector
    from detector.pictures import read_image
    from detector.preparing import letterbox

    detector = Detector(model, threads=1)
    image, specification = read_image(picture), detector.specification
    for _ in range(int(runs)):
        guest.mark(guest.BEGIN)
        tensor, placement = letterbox(image, specification, *detector.size)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        outputs = detector.run(tensor)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        decode(*outputs, specification, *detector.size, placement)
        guest.mark(guest.END)


if __name__ == "__main__":
    main()
