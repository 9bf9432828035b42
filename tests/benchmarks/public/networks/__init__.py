"""Public architectures, written anew from their papers and layouts; each file has a few."""
