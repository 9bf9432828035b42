"""Options that several commands share, in groups, and what they ask for."""
