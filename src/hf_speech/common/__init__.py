"""Helpers for several packages: plots and tables."""
