"""Pushes a folder to the Hub in one commit and verifies the result."""
