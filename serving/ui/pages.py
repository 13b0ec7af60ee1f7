"""The pages of the serving side, in the order of the navigation."""

from serving.ui import catalog, dashboard, home, sql
from serving.ui.explorer import Page

SERVING_PAGES = (
    Page("Home", "home", ":material/home:", home.draw),
    Page("Dashboards", "dashboards", ":material/monitoring:", dashboard.draw),
    Page("SQL", "sql", ":material/terminal:", sql.draw),
    Page("Catalog", "catalog", ":material/menu_book:", catalog.draw),
)
