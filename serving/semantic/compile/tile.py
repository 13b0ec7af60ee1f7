"""A dashboard's tile as a metric request."""

from dataclasses import replace

from serving.content.model import Tile
from serving.semantic.asking.request import MetricRequest, Order
from serving.semantic.asking.words import read_request
from serving.semantic.compile.facts import header


def tile_request(tile: Tile) -> MetricRequest:
    """What the tile asks, without the page's filters; raises QueryRefused for words that cannot be read.

    Of `order`, `value` is the first metric, the largest first, and `label` the order of the dimensions.
    """
    found = read_request(
        {
            "metrics": tile.metrics,
            "by": (*tile.by, *((tile.split,) if tile.split else ())),
            "where": tile.where,
            "having": tile.having,
            "compare": tile.compare,
            "top": tile.top,
            "totals": tile.totals,
            "order": [word for word in tile.order if word not in ("value", "label")],
            "limit": tile.limit,
        }
    )
    if "value" not in tile.order:
        return found
    return replace(found, order=(Order(header(found.metrics[0], found), descending=True), *found.order))
