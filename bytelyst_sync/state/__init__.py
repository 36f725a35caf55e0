"""Shared parts of queue and replica: units of work, item transitions, ids, keys and indexes."""
