import os

# Work is done in the test's own process, where it can look in, and pytest's workers share the cores already.
os.environ["LOKY_MAX_CPU_COUNT"] = "1"

# The property tests' own plugin is switched off for `pytest claims`: it imports hypothesis at the end of every run.
pytest_plugins = ["pytester", "_hypothesis_pytestplugin"]
