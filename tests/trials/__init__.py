"""Long trials of experiments: simulations, replayed streams of others, kills. ``make trials``."""
