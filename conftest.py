"""Makes ``pytest`` in this checkout know the conformance suite's options, fixtures and reports."""

pytest_plugins = ["harness.plugin"]
