"""What one user may see of one mart: the governed view that its name stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from serving.answer import Limits
from serving.content.model import Content, Mart
from serving.content.policy import AggregateRule, ColumnRule, Mask, RowRule, mask_word
from serving.errors import QueryRefused
from serving.governance.constants import RuleInvalid
from serving.governance.entitlements import BASE, LOOKUP_LIMIT, Built, Lookup, raw_table
from serving.governance.masks import masked
from serving.governance.row_rules import NoRows, bind_rule, columns_of, parse_rule
from serving.identity import User


@dataclass(frozen=True)
class View:
    """A mart as one user sees it."""

    mart: str
    body: str  # selects from placeholders for the marts' own tables; `over` fills them in
    shown: str  # the definition as a person may read it
    columns: tuple[str, ...]
    policies: tuple[str, ...] = ()
    masked: Mapping[str, str] = field(default_factory=dict)  # column -> mask, in words
    unsaid: tuple[str, ...] = ()  # for the audit only: hidden columns, and why a rule hides everything
    secure: bool = False  # a row rule holds a subquery: only the engine's SECURE VIEW keeps it safe
    aggregate: AggregateRule | None = None  # answers in aggregates only
    reads: tuple[str, ...] = ()  # the tables that the body reads: its own, then those of entitlements
    where: str = ""  # the row rules as one condition on the mart's own table; empty: none
    compares: tuple[str, ...] = ()  # the mart's columns that this condition compares

    def over(self, aliases: Mapping[str, str]) -> str:
        """The body over the marts' own tables; `aliases` are the databases they stand in, by mart.

        A rollup (`mart:rollup`) stands in its mart's.
        """
        body = self.body
        for table in self.reads:
            alias = aliases[table.partition(":")[0]]
            body = body.replace(f'"{BASE}"."{table}"', f'"{alias}"."{table}"')
        return body


def visible_marts(content: Content, user: User) -> tuple[str, ...]:
    """The marts that a role of the user grants, in the order of the files; `*` grants no built-in one."""
    granted = {mart for role in user.roles for mart in content.policy.roles[role].marts}
    every = {name for name, mart in content.marts.items() if "*" in granted and not mart.built_in}
    return tuple(name for name, mart in content.marts.items() if mart.visible and name in granted | every)


def limits_for(content: Content, user: User) -> Limits:
    """The widest limits of the user's roles, each kind by itself; the defaults where no role has any."""
    mine = [rule for rule in content.policy.limits if rule.role in user.roles]
    default = Limits()
    return Limits(
        rows=max((rule.rows for rule in mine if rule.rows is not None), default=default.rows),
        seconds=max((rule.seconds for rule in mine if rule.seconds is not None), default=default.seconds),
        bytes=max(
            (int(rule.megabytes * 1_000_000) for rule in mine if rule.megabytes is not None),
            default=default.bytes,
        ),
        concurrent=max(
            (rule.concurrent for rule in mine if rule.concurrent is not None), default=default.concurrent
        ),
        queued=max((rule.queued for rule in mine if rule.queued is not None), default=default.queued),
    )


def governed_view(
    content: Content, mart: str, built: Built, user: User, mask_key: str, lookup: Lookup
) -> View:
    """The view behind `mart` for this user; `built` are the columns of all built marts, in their order.

    `lookup` is asked for the entitlements that a row rule names. Raises QueryRefused where the
    policy cannot be applied to the built mart: a rule that does not fit hides the mart, it never
    falls away.
    """
    if mart not in built:
        raise QueryRefused(f"the mart '{mart}' is not built", hint="build first")
    types, masks = built[mart], _masks(content, content.marts[mart], user)
    for name in masks:
        if name not in types:
            raise QueryRefused(
                f"the policy masks '{mart}.{name}', which the built mart does not have", hint=_ASK
            )
    seen = [name for name in types if masks.get(name) != "hide"]
    if not seen:
        raise QueryRefused(f"every column of '{mart}' is hidden from you", hint=_ASK)
    rules = _Rules(content, mart, built, user, lookup, frozenset(types.keys() - set(seen)))
    applied = [rule for rule in content.policy.rows if rule.mart == mart and not _exempt(rule, user)]
    bound = [rules.bound(rule) for rule in applied]
    kept = [each.predicate for each in bound]
    where = " AND ".join(f"({each.sql('duckdb', comments=False)})" for each in kept)
    columns = [_column(mart, name, types[name], masks, mask_key) for name in seen]
    body = exp.select(*(_within(column, types[column.alias_or_name], kept) for column in columns))
    body = body.from_(raw_table(mart)).where(*kept)
    shown = exp.select(*(_column(mart, name, types[name], masks, None) for name in seen))
    shown = shown.from_(exp.to_identifier(mart)).where(*(each.shown for each in bound))
    policies = [each.said for each in bound]
    unsaid = [f"column {mart}.{name}: hide" for name, mask in masks.items() if mask == "hide"]
    unsaid += [words for each in bound for words in each.unsaid]
    aggregate = aggregate_rule(content, mart, user)
    if aggregate is not None:
        counted = f" {aggregate.of or 'rows'}" if aggregate.of is None or aggregate.of in seen else ""
        policies.append(f"{mart}: in aggregates only, over at least {aggregate.min_group}{counted}")
    words = {name: mask_word(mask) for name, mask in masks.items() if mask != "hide"}
    lists = dict.fromkeys(table.name for table in body.find_all(exp.Table) if table.name != mart)
    return View(
        mart=mart,
        body=body.sql("duckdb", comments=False),
        shown=shown.sql("duckdb", pretty=True, comments=False),
        columns=tuple(seen),
        policies=(*policies, *(f"column {mart}.{name}: {word}" for name, word in words.items())),
        masked=words,
        unsaid=tuple(unsaid),
        secure=any(True for _ in body.find_all(exp.Subquery)),
        aggregate=aggregate,
        reads=(mart, *lists),
        where=where,
        compares=tuple(dict.fromkeys(name for predicate in kept for name in _compared(predicate))),
    )


def aggregate_rule(content: Content, mart: str, user: User) -> AggregateRule | None:
    """The rule by which the mart answers this user in aggregates only, if there is one."""
    rules = [rule for rule in content.policy.aggregates if rule.mart == mart]
    return next((rule for rule in rules if not set(rule.exempt) & set(user.roles)), None)


def columns_under(rule: ColumnRule, mart: Mart) -> Iterator[str]:
    """The columns of the mart that a column rule reaches."""
    if rule.column is not None:
        name, _, column = rule.column.partition(".")
        if name == mart.name:
            yield column
    else:
        yield from (name for name, column in mart.columns.items() if rule.tag in column.tags)


_ASK = "ask the mart's owner; `python -m serving check` tells more"


def _masks(content: Content, mart: Mart, user: User) -> dict[str, Mask]:
    masks: dict[str, Mask] = {}
    for rule in content.policy.columns:
        if set(rule.exempt) & set(user.roles):
            continue
        for name in columns_under(rule, mart):
            if name in masks:
                raise QueryRefused(f"{rule._at}: a second mask on '{mart.name}.{name}'", hint=_ASK)
            masks[name] = rule.mask
    return masks


def _column(mart: str, name: str, kind: str, masks: Mapping[str, Mask], mask_key: str | None) -> exp.Expr:
    """The column as the user gets it: same name, same type. Without a key: for display."""
    column = exp.column(exp.to_identifier(name, quoted=True))
    if name not in masks:
        return column
    try:
        return exp.alias_(masked(column, kind, masks[name], mask_key), name, quoted=True)
    except RuleInvalid as error:
        raise QueryRefused(f"'{mart}.{name}' cannot be masked: {error}", hint=_ASK) from error


def _within(column: exp.Expr, kind: str, kept: list[exp.Expr]) -> exp.Expr:
    """The column, NULL in rows that the rules hide, where the engine might look at it too early.

    DuckDB 2.0 reads a field of a struct, and casts it, while it scans: before any filter, and below
    SECURE VIEWs and LIMITs too (optimizer `unused_columns`). A cast that fails would print the
    hidden value; a NULL cannot fail.
    """
    if not kept or not any(word in kind for word in ("STRUCT(", "UNION(", "VARIANT")):
        return column
    case = exp.Case().when(exp.and_(*kept), column.unalias().copy())
    return exp.alias_(case, column.alias_or_name, quoted=True)


def _compared(predicate: exp.Expr) -> Iterator[str]:
    """The mart's own columns in a bound rule; those in a subquery are an entitlement's."""
    for node in predicate.walk(prune=lambda each: isinstance(each, exp.Subquery)):
        if isinstance(node, exp.Column):
            yield node.name


def _exempt(rule: RowRule, user: User) -> bool:
    return bool(set(rule.exempt) & set(user.roles))


@dataclass(frozen=True)
class _Bound:
    """One row rule for one user: what runs, and what the person may read of it."""

    predicate: exp.Expr
    shown: exp.Expr
    said: str
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rules:
    content: Content
    mart: str
    built: Built
    user: User
    lookup: Lookup
    hidden: frozenset[str]  # columns that do not exist for the user, so have no name either

    def bound(self, rule: RowRule) -> _Bound:
        try:
            tree = parse_rule(rule.where)
            said, unsaid = self._said(rule, tree)
            types = self.built[self.mart]
            predicate = bind_rule(tree, self.user, types, built=self.built, lookup=self.lookup)
            if isinstance(predicate, NoRows):
                return _Bound(exp.false(), exp.false(), said, (*unsaid, predicate.reason))
            shown = bind_rule(tree, self.user, types, built=self.built, lookup=_too_many)
        except RuleInvalid as error:
            raise QueryRefused(
                f"{rule._at}: the row rule of '{self.mart}' cannot be applied: {error}", hint=_ASK
            ) from error
        assert not isinstance(shown, NoRows)
        if columns_of(tree) & self.hidden:
            shown = exp.Anonymous(this="row_rule")
        return _Bound(predicate, self._readable(shown), said, unsaid)

    def _said(self, rule: RowRule, tree: exp.Expr) -> tuple[str, tuple[str, ...]]:
        """The rule as the person may read it, and for the audit where that is not all of it."""
        whole = f"rows of {self.mart}: {rule.where}"
        if columns_of(tree) & self.hidden:
            return f"rows of {self.mart}: a rule over columns that are hidden from you", (whole,)
        if not any(self._unseen(node) for node in tree.walk()):
            return whole, ()
        partly = tree.transform(
            lambda node: exp.var(f"{node.this.name} is listed for you") if self._unseen(node) else node
        )
        words = partly.sql("duckdb", comments=False).replace('"user".', "user.")
        return f"rows of {self.mart}: {words}", (whole,)

    def _readable(self, predicate: exp.Expr) -> exp.Expr:
        """Without placeholders, and without names that the person may not know."""

        def plain(node: exp.Expr) -> exp.Expr:
            if self._unseen(node):
                return exp.Anonymous(this="listed_for_you", expressions=[node.this])
            return exp.to_table(node.name) if isinstance(node, exp.Table) else node

        return predicate.transform(plain)

    def _unseen(self, node: exp.Expr) -> bool:
        """Whether the node is an entitlement in a mart, or by columns, that do not exist for the person."""
        if not isinstance(node, exp.In) or node.args.get("query") is None:
            return False
        query = node.args["query"]
        visible = visible_marts(self.content, self.user)
        for mart in (table.name for table in query.find_all(exp.Table)):
            if mart not in visible:
                return True
            masks = _masks(self.content, self.content.marts[mart], self.user)
            if any(masks.get(column.name) == "hide" for column in query.find_all(exp.Column)):
                return True
        return False


def _too_many(mart: str, column: str, predicate: str) -> tuple[object, ...]:
    """As a lookup: keeps every entitlement as it is written."""
    return (None,) * (LOOKUP_LIMIT + 1)
