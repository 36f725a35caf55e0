"""What must hold where it is hardest: faults, kills, many processes, bad disks.

``python -m tests.torture`` runs every scenario for minutes and prints a table of figures; the
suite runs the short form of each.
"""
