"""What pruning cost is brought back: the network before it teaches the pruned one, on photos."""
