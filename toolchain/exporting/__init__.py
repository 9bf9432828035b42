"""From PyTorch to files that a board runs."""
