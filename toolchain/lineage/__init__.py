"""The chain from weights to files: other formats, the links between them, and their proof."""
