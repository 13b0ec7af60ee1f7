"""Apache Ossie: one document of datasets, relationships and metrics, to and from Sluice content."""
