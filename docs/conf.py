"""Settings of Sphinx: `sphinx-build -W -n docs build/docs`. Nothing is fetched while it builds, nor by who reads."""

import os
import sys
from pathlib import Path

# As `import sar_keras` does where TF_CPP_MIN_LOG_LEVEL is not set: TensorFlow says nothing while pages are built.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))  # from_code.py

import sar_keras

project = "sar_keras"
copyright = "2026, the sar_keras authors"
version = release = sar_keras.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"sar_keras {version}"
html_theme_options = {"source_directory": "docs/"}
html_show_sourcelink = False

# As GitHub makes them, down to the headings that pages link to.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give shapes, ranges and units
# `name` in a docstring is code.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# What others document: linking to it would need their indices, and so the network.
nitpick_ignore_regex = [("py:.*", r"(keras|tensorflow|numpy|pydantic|pathlib)(\..*)?")]
