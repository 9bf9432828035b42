"""The options of the command line."""

from __future__ import annotations

import argparse
import functools
import math
import re
from pathlib import Path
from typing import Any


def _size(text: str) -> tuple[int, int]:
    """Parse ``480x640`` as height and width in pixels, as argparse wants it."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match or not all(16 <= int(side) <= 8192 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, 16 to 8192 each (got {text!r})")
    return int(match[1]), int(match[2])


def _probability(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1 (got {text!r})")
    return value


def _count(text: str) -> int:
    """Parse a whole number above zero."""
    if not re.fullmatch(r"\d{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above zero (got {text!r})")
    return int(text)


def _port(text: str) -> int:
    """Parse a port; 0 takes one that is free."""
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 0 to 65535 (got {text!r})")
    return int(text)


EXAMPLES = """examples:
  detect.py eresfd.onnx photo.jpg                    a line per picture
  detect.py eresfd.onnx photos --out found           a folder; pictures with boxes in found/
  detect.py eresfd.onnx clip.mp4 --out found         a video; writes found/clip.mp4
  detect.py eresfd.onnx 0 --json | head -n 100       the first camera; a JSON line per frame
  detect.py eresfd.onnx photo.jpg --benchmark 200    how long it takes on this board
  detect.py eresfd.onnx --serve --camera 0           a page with the camera's picture
  detect.py model_ncnn photo.jpg                     a network of three files, run by ncnn
  detect.py yolo.onnx photo.jpg --labels names.txt   boxes with other names than the file's own
  detect.py road.onnx photo.jpg --out mask.npz       what is found as arrays (NumPy's)
  detect.py raw.onnx inputs.npz --out outputs.npz    arrays in, arrays out

exit code: 0 all done, or a page stopped; 2 a wrong option or an input that failed;
130 stopped by Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's options."""
    made = argparse.ArgumentParser(
        prog="detect.py",
        description="Find faces, boxes, classes, points or masks, or give arrays, as an ONNX, "
        "TFLite or ncnn file made by the toolchain says.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("model", metavar="MODEL", help="the .onnx or .tflite file, or the folder model_ncnn")
    add(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="picture, folder, video, number of a camera, or .npz of arrays",
    )
    add(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="write pictures with what is found here, videos as .mp4; or FILE.npz: arrays",
    )
    add("--show", action="store_true", help="open a window; q ends")
    add("--json", action="store_true", help="print a JSON line per picture or frame")
    add("--threshold", metavar="P", type=_probability, help="lowest probability shown")
    add("--labels", metavar="FILE", type=Path, help="names of the classes or points, one a line")
    add(
        "--decoder",
        metavar="FILE.py:FUNCTION",
        help="code of your own that finds the boxes of the outputs; it is run",
    )
    add("--threads", metavar="N", type=_count, default=0, help="processor threads (default: all)")
    add(
        "--size",
        metavar="HxW",
        type=_size,
        help="input height x width, for a file of any size (default 480x640)",
    )
    add(
        "--half",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="half precision, of ncnn files, where the board has it (default: as the file says)",
    )
    add("--limit", metavar="N", type=_count, help="at most N frames of each video or camera")
    add(
        "--benchmark",
        metavar="N",
        type=_count,
        nargs="?",
        const=50,
        help="time N runs (default 50) on the first picture; give it after the inputs",
    )
    add_live_options(made.add_argument_group("a page with a camera's picture", LIVE_TEXT))
    return made


LIVE_TEXT = "takes --out (snapshots), --json, --threshold too"
LIVE_DEFAULTS: dict[str, Any] = {
    "camera": "0",
    "host": "127.0.0.1",
    "port": 8080,
    "token": None,
    "loop": False,
    "rotate": 0,
    "mirror": False,
    "on_face": None,
}
"""The options that mean something only with --serve."""


def add_live_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of the page; one that is not given is None until they are checked."""
    add = functools.partial(group.add_argument, default=None)
    group.add_argument("--serve", action="store_true", help="serve the page until Ctrl-C")
    add("--camera", metavar="WHAT", help="number, video, folder, rtsp://... (default: 0)")
    add("--host", metavar="ADDRESS", help="where to listen (default: this machine alone)")
    add("--port", metavar="N", type=_port, help="(default: 8080)")
    add("--token", metavar="FILE", type=Path, help="holds what viewers must know; made if missing")
    add("--loop", action="store_true", help="begin a video or folder again at its end")
    add("--rotate", type=int, choices=(0, 90, 180, 270), help="turn the picture clockwise")
    add("--mirror", action="store_true", help="turn the picture left for right")
    add("--on-face", metavar="COMMAND", help="run when a face comes; no shell; JSON on its input")


def checked_options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; refuse options that do not go together."""
    made = parser()
    options = made.parse_intermixed_args(arguments)  # inputs may stand after options
    given = [name for name in LIVE_DEFAULTS if getattr(options, name) is not None]
    if options.serve:
        if options.inputs:
            made.error(f"--serve looks at a camera; give --camera {options.inputs[0]}")
        if options.show or options.benchmark:
            made.error("--serve goes with neither --show nor --benchmark")
    elif given:
        made.error(f"--{given[0].replace('_', '-')} needs --serve")
    elif not options.inputs:
        made.error("the following arguments are required: INPUT (or --serve)")
    for name in LIVE_DEFAULTS.keys() - set(given):
        setattr(options, name, LIVE_DEFAULTS[name])
    return options
