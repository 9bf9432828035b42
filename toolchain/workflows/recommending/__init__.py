"""What to put on a board: all that ships, or a user's folders, and the one to take."""
