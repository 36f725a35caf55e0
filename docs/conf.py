"""How the documentation is built: ``make docs``."""

from importlib.metadata import version as version_of

project = "bytelyst_sync"
author = "bytelyst_sync contributors"
copyright = "2026, bytelyst_sync contributors"
version = release = version_of("bytelyst-sync")

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"bytelyst_sync {release}"
html_copy_source = False
