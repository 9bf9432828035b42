"""``python -m toolchain.cli``: the same as the command ``toolchain``."""

from toolchain.cli.app import main

main()
