"""The lineage of files, from weights on: other formats, the links between them, and their proof."""
