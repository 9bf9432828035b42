"""The Python library: what ``import toolchain`` offers, for training loops of one's own."""
