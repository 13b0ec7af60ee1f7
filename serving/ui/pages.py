"""The pages of the serving side, in the order of the navigation."""

from collections.abc import Callable

from serving.ui import access, catalog, dashboard, metrics, sql
from serving.ui.explorer import Page, View
from serving.ui.home import HomePage, Notice


def serving_pages(notices: Callable[[View], list[Notice]]) -> tuple[Page, ...]:
    """Home shows the notices that other parts of the program hand in."""
    return (Page("Home", "home", ":material/home:", HomePage(notices).draw), *_PAGES)


_PAGES = (
    Page("Dashboards", "dashboards", ":material/monitoring:", dashboard.draw),
    Page("Metrics", "metrics", ":material/query_stats:", metrics.draw),
    Page("SQL", "sql", ":material/terminal:", sql.draw),
    Page("Catalog", "catalog", ":material/menu_book:", catalog.draw),
    Page("Access", "access", ":material/policy:", access.draw),
)
