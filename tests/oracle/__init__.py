"""The oracle: governed(query, everything) == query(a copy that holds only what the person may see).

`python -m tests.oracle --help` runs it; docs/oracle.md says what it proves.
"""
