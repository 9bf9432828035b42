"""The page of a training: a plain file that loads itself again while the training runs."""

from toolchain.report.training.progress import training_page

__all__ = ["training_page"]
