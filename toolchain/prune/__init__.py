"""Which filters to zero."""
