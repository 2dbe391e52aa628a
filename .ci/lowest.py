"""Print the lowest allowed versions of the dependencies and of some extras, as constraints for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
names = ["audit", "cli", "examples", "otel", "speed"]
for requirement in project["dependencies"] + [each for name in names for each in extras[name]]:
    bound, *marker = requirement.split(";")  # a marker may hold a >= of its own
    print(";".join([bound.replace(">=", "=="), *marker]))  # noqa: T201
