"""Shared by all tests: one torch thread, so that tests are quick where cores are few and busy."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
