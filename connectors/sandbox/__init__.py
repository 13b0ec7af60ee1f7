"""A local CRM that behaves like a real one, for the demo and for tests.

`python -m connectors.sandbox --port 8600 --var var` serves it on 127.0.0.1.
"""
