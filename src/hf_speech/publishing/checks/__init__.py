"""What is checked before anything is sent: secrets, executables, formats, licenses and remote code."""
