"""Complete small programs: the library in training loops of one's own. Each runs in seconds."""
