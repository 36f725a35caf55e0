"""The state: what is queued and what is known, as rules applied in a storage transaction."""
