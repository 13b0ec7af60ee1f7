"""Dashboards: every tile's dimensions are within reach of every mart that its metrics come from."""

from collections.abc import Iterator

from serving.content.model import Content, Dashboard, Mart, Tile
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem, QueryRefused
from serving.semantic.compile.tile import tile_request
from serving.semantic.dimension import GRAINS


def board_problems(content: Content, board: Dashboard) -> Iterator[Problem]:
    """All problems of a dashboard's dimensions and filters."""
    read: dict[str, Mart] = {}
    for index, tile in enumerate(board.tiles):
        marts = [content.marts[name] for name in tile.marts if name in content.marts]
        read |= {mart.name: mart for mart in marts}
        asked: list[tuple[KeyPath, str]] = [
            (("tiles", index, "by", place), key) for place, key in enumerate(tile.by)
        ]
        if tile.split:
            asked.append((("tiles", index, "split"), tile.split))
        for path, key in asked:
            for mart in marts:
                if (found := _out_of_reach(content, mart, key)) is not None:
                    yield Problem(board._where.file, board._where.line(*path), *found)
        yield from _unreadable(board, index, tile)
    for name in board.filters:
        if all(_out_of_reach(content, mart, name) is not None for mart in read.values()):
            known = {column for mart in read.values() for column in _dimensions(mart)}
            line = board._where.line("filters", name)
            words = f"no mart of this dashboard has the column '{name}'"
            yield Problem(board._where.file, line, words, near(name, known))


def _unreadable(board: Dashboard, index: int, tile: Tile) -> Iterator[Problem]:
    """What cannot be read as words of a metric request."""
    if not tile.metrics:
        return
    try:
        tile_request(tile)
    except QueryRefused as refusal:
        yield Problem(board._where.file, board._where.line("tiles", index), refusal.problem, refusal.hint)


def _out_of_reach(content: Content, mart: Mart, key: str) -> tuple[str, str] | None:
    """Why the mart cannot be grouped by `region`, `time.month`, `customers.segment`; None where it can."""
    here, (name, *rest) = mart, key.split(".")
    if name == mart.name and rest:
        name, *rest = rest
    while rest and name in here.joins and here.joins[name].mart in content.marts:
        here, (name, *rest) = content.marts[here.joins[name].mart], rest
    known = _dimensions(here)
    if name == "time" and here.time is None and "time" not in known:
        return f"'{here.name}' names no time", "add 'time: COLUMN' to the mart"
    if name != "time" and name not in known:
        return f"'{here.name}' describes no '{name}'", near(
            name, known | here.joins.keys() if rest else known
        )
    if len(rest) > 1 or (rest and rest[0] not in GRAINS):
        return f"'{'.'.join(rest)}' is no time grain", near(rest[0], GRAINS)
    return None


def _dimensions(mart: Mart) -> set[str]:
    return mart.columns.keys() | mart.dimensions.keys()
