"""Fuzzing with damaged sounds and model folders, invalid options and more: each case works or is rejected.

A case is a number, which seeds all random choices. `mutations` damages bytes and JSON; `audio`, `folders` and `options`
make cases; `campaign` runs them in a monitored process with limited memory. On the command line:

    PYTHONPATH=tests python -m fuzz audio --cases 10000
    PYTHONPATH=tests python -m fuzz folders --first 4711 --cases 1
"""
