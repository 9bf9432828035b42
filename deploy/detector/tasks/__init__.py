"""What networks are for, a file for each task: what their outputs mean, and how it is shown.

``specification`` is what a file says of itself, ``outputs`` what the network gave, ``found`` what
every task makes of it: facts, words, a picture, arrays. ``layouts`` is the table of how detectors
lay out their boxes, ``own`` takes a decoder from a file of the user's, ``running`` is a network
that is ready. Faces of the toolchain's own detectors are read by ``decoding`` above.
"""
