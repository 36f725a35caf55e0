"""An application of a project."""
