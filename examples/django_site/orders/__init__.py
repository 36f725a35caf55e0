"""The application: orders, which a partner gets."""
