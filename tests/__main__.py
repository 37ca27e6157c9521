"""`python -m tests`: everything that must pass: formatting, lint, types, tests."""

import subprocess
import sys

CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("pytest",),
)


def main() -> int:
    """Run each check, go on after a failure, and fail if one did."""
    failed = []
    for check in CHECKS:
        print("$ python -m", *check, flush=True)
        if subprocess.run([sys.executable, "-m", *check]).returncode:
            failed.append(check[0])
    if failed:
        print("failed:", ", ".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
