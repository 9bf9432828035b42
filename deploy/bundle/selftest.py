"""Run the program's self-test on what the bundle brought.

Lies beside ``deploy/detect.py``, the model, ``photo.png`` and ``expected.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here / "deploy" / "detect.py"))
    from detector.selftest import main

    sys.exit(main(here))
