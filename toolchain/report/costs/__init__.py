"""What files cost: on this machine, on an emulated board, side by side, and per width."""
