"""Run a module of one checkout: `python -P launch.py PACKAGES CHECKOUT MODULE [ARGUMENTS]`.

PACKAGES is the folder of links that stands first on the module path. What an editable install put into the import
system is taken out, and when a package would still come from elsewhere than CHECKOUT nothing is run. Imports nothing
of ours, so that it is the same program for every version.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Check, then become the module."""
    packages, checkout, module, *arguments = sys.argv[1:]
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")
    ]
    for link in Path(packages).iterdir():
        spec = importlib.util.find_spec(link.name)
        places = [] if spec is None else [Path(place).resolve() for place in spec.submodule_search_locations or ()]
        if not places or not all(place.is_relative_to(checkout) for place in places):
            sys.exit(
                f"{link.name} would be loaded from {', '.join(map(str, places)) or 'nowhere'}, not from {checkout}"
            )
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
