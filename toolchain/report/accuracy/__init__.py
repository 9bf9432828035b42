"""Draw evaluations: pages, curves, tables, size against accuracy; measures nothing."""
