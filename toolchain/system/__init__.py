"""Files, memory and other programs: what the operating system gives."""
