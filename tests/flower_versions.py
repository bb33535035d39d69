"""Run the tests of heflwr.flower on other versions of Flower: `python tests/flower_versions.py 1.24.0 1.41.0 1.42.0`.

Each version gets an environment of its own under `.versions/`. Where pip cannot find all that a version asks for, it is
installed over the newest one that can be had, without its own dependencies; the output says so.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH = ["pytest>=8.2", "pytest-timeout", "hypothesis", "rich", "matplotlib", "pandas", "pyarrow"]
WITH += ["prometheus-client", "pyte"]  # read the metrics and the screen that the tests look at
SAY_WHAT_IS_NEEDED = [Path(__file__), ROOT / "pyproject.toml"]  # an older environment may lack something
TESTS = ["tests/flower", "--ignore-glob=*/test_deployment*.py"]  # SuperLinks and SuperNodes take minutes


def prepare(version: str) -> Path:
    """Return the Python of an environment that has this version of Flower. Raises CalledProcessError."""
    folder = ROOT / ".versions" / version
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists() or ready.stat().st_mtime < max(path.stat().st_mtime for path in SAY_WHAT_IS_NEEDED):
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = [f"flwr[simulation]=={version}", "-e", f"{ROOT}[collector]", *WITH]
        if subprocess.run([*pip, *wanted]).returncode:
            print(f"flwr {version}: not all that it asks for can be had; its code alone, over the newest that can")
            subprocess.run([*pip, "flwr[simulation]", *wanted[1:]], check=True)
            subprocess.run([*pip, "--no-deps", f"flwr=={version}"], check=True)
        ready.touch()
    return python


def main(versions: list[str]) -> int:
    """Return 0 when the tests passed on all of them."""
    failed = []
    for version in versions:
        print(f"== flwr {version}", flush=True)
        try:
            python = prepare(version)
        except subprocess.CalledProcessError as error:
            print(f"flwr {version} cannot be installed here: {error}")
            failed.append(version)
            continue
        if subprocess.run([str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS], cwd=ROOT).returncode:
            failed.append(version)
    print(f"failed on: {', '.join(failed)}" if failed else f"passed on: {', '.join(versions)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
