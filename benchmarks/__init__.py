"""What the package costs, beside its alternatives: ``make bench``.

Every figure that matters is a ratio of two things that were measured in turns in one run, because
the machine's speed, and whatever else it is doing, is in both.
"""
