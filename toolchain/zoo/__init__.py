"""Networks that were trained by this project, a card with each."""
