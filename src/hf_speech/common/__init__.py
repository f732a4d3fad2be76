"""What several packages need: plots and tables."""
