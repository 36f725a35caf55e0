"""Bridges to other packages; each needs its extra."""
