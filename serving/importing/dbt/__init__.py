"""A dbt project's manifest as Sluice content."""
