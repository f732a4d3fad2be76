"""Damaged sounds, damaged model folders, garbage as options, thousands of them: each is used or refused.

A case is a number. `mutations` damages bytes and JSON by chance drawn from it, `audio`, `folders` and `options` make
the cases, and `campaign` runs cases in a process of limited memory that is watched from outside. By hand:

    PYTHONPATH=tests python -m fuzz audio --cases 10000
    PYTHONPATH=tests python -m fuzz folders --first 4711 --cases 1
"""
