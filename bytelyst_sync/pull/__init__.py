"""Pulls: fetches pages of remote changes and commits them with their cursor."""
