"""Published figures: data with sources, and their reader."""
