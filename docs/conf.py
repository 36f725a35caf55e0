"""How the documentation is built: ``make docs``."""

from importlib.metadata import version as version_of

project = "bytelyst_sync"
author = "bytelyst_sync contributors"
copyright = "2026, bytelyst_sync contributors"
version = release = version_of("bytelyst-sync")

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88

# What is copied is what can be pasted: no prompts, no output of commands.
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"bytelyst_sync {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
