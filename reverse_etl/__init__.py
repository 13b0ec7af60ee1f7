"""Reverse ETL: what the marts say, delivered to operational tools, and accounted for row by row."""
