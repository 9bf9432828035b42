"""Files on emulated ARM boards: real ARM wheels, exact instruction counts, estimated times."""
