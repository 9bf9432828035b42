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
    from detector.detecting import Detector
    from detector.pictures import read_image

    detector = Detector(model, threads=1)
    image = read_image(picture)
    for _ in range(int(runs)):
        guest.mark(guest.BEGIN)
        prepared, placement = detector.prepare(image)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        given = detector.infer(prepared)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        detector.faces(given, placement)
        guest.mark(guest.END)


if __name__ == "__main__":
    main()
