import gc
import os

# Work is done in the test's own process, where it can look in, and pytest's workers share the cores already.
os.environ["LOKY_MAX_CPU_COUNT"] = "1"
# Threads of two workers that wait for each other made the suite three times as long. pytest's workers and the processes that
# tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The property tests' own plugin is switched off for `pytest claims`: it imports hypothesis at the end of every run.
pytest_plugins = ["pytester", "_hypothesis_pytestplugin"]


def pytest_collection_finish() -> None:
    """What is there after collection stays: the garbage collector need not look through it again and again."""
    gc.freeze()
