"""Projects that use the plugin: each runs pytest in a process of its own."""

import pytest


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run pytest in the project, with the installed plugin."""
    return project.runpytest_subprocess("-p", "no:cacheprovider", *args, timeout=120)
