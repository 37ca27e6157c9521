"""`python -m livepose`."""

from livepose.cli import script

script()
