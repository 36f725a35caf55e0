"""One module for each page. Its functions take a ``Context`` and return a ``Response``."""
