"""Print the lowest allowed version of every dependency and of the extra `cli`, as constraints for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["cli"]]:
    print(requirement.replace(">=", "=="))  # noqa: T201
