"""Status, callbacks and telemetry: everything that an engine reports."""
