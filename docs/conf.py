"""Sphinx configuration: MyST pages, notebooks executed once per build, API pages from docstrings. Needs no network."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
os.environ["MPLBACKEND"] = (
    "module://matplotlib_inline.backend_inline"  # notebooks show their figures, whatever the shell says
)

# Notebooks live beside the code; Sphinx reads what is below its own folder. The tests leave executed ones where this
# variable says.
_notebooks = Path(os.environ.get("KRONOS_SC_EXECUTED", HERE.parent / "notebooks"))
for _notebook in sorted(_notebooks.glob("*.ipynb")):
    shutil.copy(_notebook, HERE / "tutorials" / _notebook.name)

project = "kronos-sc"
author = "the kronos-sc developers"
copyright = "2026, the kronos-sc developers"
version = release = installed("kronos-sc")
html_title = f"kronos-sc {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "jupyter_execute"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b2a86", "color-brand-content": "#5b2a86"},
    "dark_css_variables": {"color-brand-primary": "#c9a2ec", "color-brand-content": "#c9a2ec"},
}
pygments_style = "friendly"

default_role = "literal"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

nb_execution_mode = "auto"  # stored without outputs, so they run; -D nb_execution_mode=off skips them
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = False
autodoc_typehints = "none"  # types are in the signature of the source; the text says what they mean
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
# Returns sections are prose and definition lists that name slots, not pairs of name and type
napoleon_custom_sections = ["Returns"]
maximum_signature_line_length = 88

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "author_year"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
