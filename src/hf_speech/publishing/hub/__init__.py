"""The Hub: repositories, pushing in one commit, and verification of what arrived."""
