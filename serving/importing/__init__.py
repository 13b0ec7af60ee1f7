"""Content from elsewhere: dbt projects and Apache Ossie models as a Sluice content folder, and back."""
