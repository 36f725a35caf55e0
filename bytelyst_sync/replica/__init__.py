"""The local copy of the server's records, the local view, and conflicts."""
