"""What a network's outputs mean, so that the board's program can do something with them."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from toolchain.recipe.checking import Range, Section
from toolchain.recipe.numbers import Positive, Share

Kind = Literal["faces", "boxes", "classes", "points", "mask", "raw"]
Activation = Literal["none", "softmax", "sigmoid"]
Side = typing.Annotated[int, Range(1, 1024)]


@dataclass(frozen=True)
class TaskSection(Section, name="task"):
    """What the network is for; the files carry it, and ``detect.py`` goes by it."""

    kind: Kind | None = None
    """``faces``, ``boxes``, ``classes``, ``points``, ``mask``, or ``raw``: arrays in, arrays out.
    None: ``faces`` where there are ``[anchors]``, else ``raw``. It is never guessed."""
    layout: str = ""
    """How the outputs hold it, as docs/tasks.md lists them: ``yolov8``, ``ssd``... of boxes. Empty:
    the first of its kind; of boxes it must be said."""
    labels: tuple[str, ...] = ()
    """Names of the classes or points, in the outputs' order; without, they are numbered."""
    labels_file: str | None = None
    """A file of names, one a line, beside the recipe; it takes the place of ``labels``."""
    outputs: tuple[str, ...] = ()
    """Which outputs of the file are read, in the layout's order; without, all of them."""
    activation: Activation | None = None
    """What turns the outputs into probabilities; None: the layout's own."""
    threshold: Share | None = None
    """Lowest score of points and of masks of one channel (None: 0.5), and of boxes (None:
    ``decode.score_threshold``)."""
    top: typing.Annotated[int, Range(1, 1000)] = 5
    """So many classes are told, the likeliest first."""
    strides: tuple[Side, ...] = ()
    """Pixels per cell, per level, for layouts that have levels; without, the layout's own."""
    anchors: tuple[tuple[tuple[Positive, Positive], ...], ...] = ()
    """Width and height in pixels of each anchor of a cell, per level, for layouts with anchors."""
    cell_centre: Share | None = None
    """Where in its cell a box is measured from, for layouts with levels: 0.5 is its middle, 0 its
    corner; None: the layout's own."""
    decoder: str | None = None
    """``file.py:function`` of your own that finds the boxes, in place of a layout. ``detect.py``
    runs it only if it is given by ``--decoder`` there, too."""
