"""The formats that files can be made in, by name; nothing here loads PyTorch."""

from __future__ import annotations

from toolchain.errors import InputError, did_you_mean

FORMATS = ("onnx", "tflite", "fp16", "int8", "ncnn")


def read_formats(text: str) -> tuple[str, ...]:
    """Return the formats of ``onnx,int8``; raise :class:`InputError` for others, or none."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise InputError(
            f"--formats must be of {', '.join(FORMATS)} (got {', '.join(unknown) or 'nothing'})"
            f"{did_you_mean(','.join(unknown), FORMATS)}"
        )
    return names
