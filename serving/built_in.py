"""All marts that come with the program, by name. `*` grants none of them, no file may take their names."""

from collections.abc import Mapping

from serving import audit_mart
from serving.live import LiveMart
from serving.sync_log_mart import SYNC_LOG

BUILT_IN: Mapping[str, LiveMart] = {
    audit_mart.NAME: LiveMart(audit_mart.AUDIT_MART, audit_mart.TYPES),
    **SYNC_LOG,
}
