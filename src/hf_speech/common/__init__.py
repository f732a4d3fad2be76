"""Helpers for several packages: files, tables, plots, digests, names."""
