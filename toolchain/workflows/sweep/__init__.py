"""A sweep: one network pruned at several rates, each trained, shrunk, exported and evaluated."""
