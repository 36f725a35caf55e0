"""The flows: threads, and what they do with the state and the ports."""
