"""Delivers items: from a claim to its settled answer."""
