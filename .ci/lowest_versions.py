"""Print pip's constraints to the lowest versions that pyproject.toml declares for what the product runs on."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for text in project["dependencies"]:
    requirement = Requirement(text)
    (lowest,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
    print(f"{requirement.name}=={lowest}")
