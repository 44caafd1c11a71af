"""The abuse corpus: hostile programs and requests as data, one TOML file a theme, and how one of them is tried.

A theme's file is a row of `[[case]]` tables; `cases.Case` names their keys. It is run by the test suite, and by an
operator on his own engine with `orchestrator doctor --attack`.
"""
