"""The library that draws, without what it does to the process that imports it."""

import sys

import pygal
from pygal.style import Style

__all__ = ["Style", "pygal"]

# It adds a finder to all imports, for plugins that are not used here, in a form that Python 3.11 warns of each time.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
