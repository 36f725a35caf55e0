"""The rules: pure functions of values, one module for each table of the contract."""
