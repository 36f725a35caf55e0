"""What an engine does for the operator of a fleet: heartbeats, and remote commands."""
