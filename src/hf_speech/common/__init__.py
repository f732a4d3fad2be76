"""Helpers that several packages share: files, tables, plots, digests, names."""
