"""The surgery on public architectures; ``make bench-surgery`` measures it."""
