"""Reading pictures, and telling those that are damaged."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .arrays import Image
from .errors import DetectError, one_line, reason_of

MAX_FILE_BYTES = 1_000_000_000
"""A larger file is no picture; it is not read, for it may not fit in the memory."""
JPEG_SUFFIXES = (".jpe", ".jpeg", ".jpg")
OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image(
    path: str | Path, *, upright: bool = True, on_damage: Callable[[str], None] | None = None
) -> Image:
    """Read a picture as uint8 (H, W, 3), BGR, upright as its EXIF data says.

    16 bits become 8, grey becomes three channels, and alpha is dropped: the colour stored under
    it counts. A JPEG or PNG that was cut off is refused, though a decoder would fill it up.
    ``upright=False`` leaves the pixels as they are stored, for boxes that were drawn on them so.

    A JPEG that is damaged in the middle is decoded all the same, with what comes after the damage
    in wrong places. It is refused, or given with ``on_damage`` told what the decoder found. A JPEG
    has no checksum: damage that decodes without a contradiction is not found.
    """
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise DetectError(f"{path}: is too large a file for a picture; is it a video?")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DetectError(f"{path}: cannot be read ({reason_of(error)})") from error
    if not data or _is_cut_off(data):
        raise DetectError(f"{path}: is {'cut off' if data else 'empty'}; copy the file again")
    try:
        turned = 0 if upright else cv2.IMREAD_IGNORE_ORIENTATION
        image, damage = _decoded_picture(data, cv2.IMREAD_COLOR | turned)
    except cv2.error as error:
        limit = f"more than {os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS')} pixels; shrink it, "
        limit += "or set OPENCV_IO_MAX_IMAGE_PIXELS higher"
        reason = limit if "MAX_IMAGE" in str(error) else one_line(error)
        raise DetectError(f"{path}: cannot be read as a picture ({reason})") from error
    if image is None:
        raise DetectError(f"{path}: is no picture that OpenCV reads; give JPEG, PNG or .mp4")
    if damage and on_damage is None:
        raise DetectError(f"{path}: is a damaged JPEG ({damage}); copy the file again")
    if damage and on_damage is not None:
        on_damage(damage)
    return np.asarray(image, np.uint8)


LIBJPEG = re.compile(rb"^(?:Corrupt JPEG data|Premature end of JPEG).*$", re.MULTILINE)
PADDING = 16
"""Bytes that cameras put before a JPEG's end; more are left over where blocks were lost."""
_listening = threading.Lock()


def _decoded_picture(data: bytes, how: int) -> tuple[cv2.typing.MatLike | None, str]:
    """Decode a picture; return also what libjpeg says of damage, which OpenCV does not hand on.

    libjpeg tells it on standard error alone; all else that is written there meanwhile goes there.
    """
    pixels = np.frombuffer(data, np.uint8)
    if not data.startswith(b"\xff\xd8"):
        return cv2.imdecode(pixels, how), ""
    with _listening, tempfile.TemporaryFile() as heard:
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed
            return cv2.imdecode(pixels, how), ""
        os.dup2(heard.fileno(), 2)
        try:
            image = cv2.imdecode(pixels, how)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        heard.seek(0)
        said = heard.read()
    others = LIBJPEG.sub(b"", said).strip()
    if others:
        os.write(2, others + b"\n")
    found = [line.decode("ascii", "replace") for line in LIBJPEG.findall(said)]
    return image, next(filter(_is_damage, found), "")


def _is_damage(words: str) -> bool:
    """Tell damage from bytes too many between a JPEG's parts, which some cameras write."""
    extra = re.search(r"(\d+) extraneous bytes before marker (0x\w+)", words)
    return not extra or (extra[2] == "0xd9" and int(extra[1]) > PADDING)


def _is_cut_off(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end marker, looking behind a JPEG's thumbnail."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if not data.startswith(b"\xff\xd8"):
        return False
    position = 2
    marker = data[position : position + 2]
    while marker[:1] == b"\xff" and marker != b"\xff\xda":
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == b"\xff\xff" else length
        marker = data[position : position + 2]
    return b"\xff\xd9" not in data[position:]
