"""Fixtures for all tests."""

pytest_plugins = ["orchestrator.testing.fixtures"]
