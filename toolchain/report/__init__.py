"""What is told of records, for people: measures nothing, and loads no torch.

A document is built once, of the model in ``document``, and rendered as HTML and as Markdown from
it. ``charts`` draws; ``run`` tells of a run of ``shrink``, ``costs`` of what files cost, ``gate``
of verdicts, ``accuracy`` of evaluations, ``training`` and ``sweep`` of trainings, ``cards`` of the
networks that are shipped. ``wording`` writes numbers the same everywhere.
"""
