"""Print the oldest dependencies that setup.py allows, as constraints for pip."""

import ast
import re
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.py"


def main() -> None:
    """Print a line such as ``treq==24.9`` for each requirement of ``install_requires``.

    :raises SystemExit: a requirement has no lower bound.
    """
    keywords = (node for node in ast.walk(ast.parse(SETUP.read_text())) if isinstance(node, ast.keyword))
    (required,) = (ast.literal_eval(node.value) for node in keywords if node.arg == "install_requires")
    for requirement in required:
        bound = re.match(r"([\w.-]+)(?:\[[\w,-]+\])? *>= *([\w.]+)", requirement)
        if bound is None:
            raise SystemExit(f'setup.py: install_requires: "{requirement}": give a lower bound with >=')
        print("{}=={}".format(*bound.groups()))


if __name__ == "__main__":
    main()
