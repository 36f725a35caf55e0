"""The queue: pushes, claims, settling and control. Its rules run inside a storage transaction."""
