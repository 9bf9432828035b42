"""One archive that a board installs, offline if need be: the chosen file and all around it."""
