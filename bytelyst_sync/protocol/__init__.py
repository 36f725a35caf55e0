"""Builds requests and interprets responses, as the dialect says."""
