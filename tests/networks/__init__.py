"""Random networks for the property tests of the surgery, and the judge that compares two.

A network is described by plain frozen data (:mod:`networks.descriptions`): a list of steps, each
of which reads earlier values, and a list of outputs. Hypothesis draws descriptions
(:mod:`networks.strategies`), makes a failing one small, and prints it so that it can be pasted
into a test. :mod:`networks.building` turns a description into an ordinary ``nn.Module``;
:mod:`networks.judging` says whether two modules agree, :mod:`networks.promise` what is asked of a
surgery, and :mod:`networks.reducing` makes what fails small.

Values are counted back from the newest (``source=0``), modulo how many there are, so that every
description means something, also after Hypothesis has taken steps out of it. A step that cannot
be done on the values it meets (a pixel shuffle of three channels) is left out.
"""
