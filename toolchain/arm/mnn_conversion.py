"""Run in a process of its own: ``python mnn_conversion.py FROM.onnx TO.mnn``.

The converter talks on standard output and may end the process that called it. It is called as the
library that it is: the script ``mnnconvert`` around it installs a package and reports its use.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Convert, in float32."""
    import _tools

    source, target = sys.argv[1:3]
    words = ["-f", "ONNX", "--modelFile", source, "--MNNModel", target, "--bizCode", "toolchain"]
    _tools.mnnconvert(["mnnconvert", *words])


if __name__ == "__main__":
    main()
