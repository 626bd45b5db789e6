"""Settings of the documentation: `make docs` builds it, without the network.

With WAVEFIELD_DOCS_ONLINE=1 names of NumPy, xarray and the like are linked to their documentation, which needs the
network; without it they are plain text.
"""

import os
import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))
sys.path.insert(0, str(DOCS.parent))
os.environ.setdefault("MPLBACKEND", "Agg")

import helpers  # noqa: E402  the modules above have to be found first

project = "wavefield"
author = "the authors of wavefield"
copyright = "the authors of wavefield, MIT licence"
version = release = helpers.version()

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "tutorials", "_generated"]
suppress_warnings = ["config.cache"]  # the settings of the gallery hold functions
nitpicky = True
default_role = "known"  # a link where the name is public, else code; see helpers.py
templates_path = ["_templates"]

# Names of other projects.
if os.environ.get("WAVEFIELD_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "dask": ("https://docs.dask.org/en/stable", None),
    }

# Reference.
autosummary_generate = True
autosummary_imported_members = False
autodoc_inherit_docstrings = False
autodoc_typehints = "none"  # the docstrings say it
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_custom_sections = [("Inputs", "params_style"), ("Outputs", "params_style"), "Shapes"]
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False
python_maximum_signature_line_length = 88

# Pages.
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_block", "attrs_inline"]
myst_heading_anchors = 3

# Tutorials: plain Python files that are run while the documentation is built.
sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["learn"],
    "filename_pattern": r"/\d_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "reset_modules": ("helpers.fresh_state",),
    "capture_repr": ("_repr_html_", "__repr__"),
    "plot_gallery": "True",
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

html_theme = "pydata_sphinx_theme"
html_title = "wavefield"
html_static_path = ["_static"]
html_css_files = ["wavefield.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app):
    helpers.connect(app)
