"""Shared by all tests: one torch thread, so that tests are quick where cores are few and busy, and
a cache folder of their own."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

CACHE = tempfile.TemporaryDirectory(prefix="livepose-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE.name
