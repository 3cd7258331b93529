# The property tests' own plugin is switched off for `pytest claims`: it imports hypothesis at the end of every run.
pytest_plugins = ["pytester", "_hypothesis_pytestplugin"]
