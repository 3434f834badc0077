"""Eight CPU devices for every test, so that sharding is real; and which tests are slow."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
os.environ.setdefault("KERAS_BACKEND", "jax")  # read when Keras is imported

# Tests that take long, by their ids. Of a test with several cases the quickest stays out of it.
SLOW = pathlib.Path(__file__).with_name("slow_tests.txt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the listed tests as slow; a line that names no test of a collected file is an error."""
    listed = set(SLOW.read_text().splitlines())
    found = {item.nodeid: item for item in items}
    for name in listed & set(found):
        found[name].add_marker(pytest.mark.slow)
    if not any("::" in arg for arg in config.args):
        files = {name.partition("::")[0] for name in found}
        unknown = {name for name in listed - set(found) if name.partition("::")[0] in files}
        if unknown:
            raise pytest.UsageError(f"{SLOW.name} names no tests: {', '.join(sorted(unknown))}")
