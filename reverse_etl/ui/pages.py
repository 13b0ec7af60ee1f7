"""The pages of the reverse ETL side, in the order of the navigation."""

from reverse_etl.overview import list_syncs
from reverse_etl.ui import crm, syncs
from reverse_etl.ui.words import state_words
from serving.store import utc_now
from serving.ui.explorer import Page, View
from serving.ui.home import Notice

SYNC_PAGES = (
    Page("Syncs", "syncs", ":material/sync:", syncs.draw),
    Page("Sandbox CRM", "crm", ":material/contacts:", crm.draw),
)


def sync_notices(view: View) -> list[Notice]:
    """One line a sync, for the home page."""
    now = utc_now()
    return [
        Notice(
            sync.name,
            state_words(sync, now),
            sync.last_run is None or sync.last_run.state in ("done", "delivering"),
        )
        for sync in list_syncs(view.project, now)
    ]
