"""What goes to the board: single files that need no package of ours."""
