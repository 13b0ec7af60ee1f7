"""The words of DuckDB 2.0's syntax tree that a question may consist of.

An allow-list: what is not here is refused, so that an engine upgrade that adds a word
fails closed until somebody has looked at what the word does.
"""

from importlib.resources import files

# kinds of query nodes, table references and modifiers
NODES = frozenset(
    """
    ASCENDING BASE_TABLE DESCENDING DISTINCT_MODIFIER EMPTY EXPRESSION_LIST JOIN LIMIT_MODIFIER
    LIMIT_PERCENT_MODIFIER ORDER_DEFAULT ORDER_MODIFIER PIVOT RECURSIVE_CTE_NODE SELECT_NODE
    SET_OPERATION_NODE SHOW_REF SUBQUERY TABLE_FUNCTION
    """.split()
)

# classes of expressions
EXPRESSIONS = frozenset(
    """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR
    PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
    """.split()
)

# type names, in lower case; names that people gave to types of their own are not here
TYPES = frozenset(
    """
    array bigint bignum bit bitstring blob bool boolean bpchar bytea char date datetime dec decimal
    double enum float float4 float8 geometry hugeint int int1 int128 int16 int2 int32 int4 int64 int8
    integer interval json list logical long map null numeric nvarchar oid real row short signed
    smallint string struct text time time_ns timestamp timestamp_ms timestamp_ns timestamp_s timestamp_us
    timestamptz timestamptz_ns timetz tinyint ubigint uhugeint uint128 uint16 uint32 uint64 uint8
    uinteger union usmallint utinyint uuid varbinary varchar variant
    """.split()
) | {"time with time zone", "timestamp with time zone", "timestamp_ns with time zone"}

# keys of any node
KEYS = frozenset(
    """
    aggregate_handling aggregates alias aliases arg_orders arguments at_clause case_checks catalog
    catalog_name child children class collation column column_name_alias column_names columns
    comparison_type condition cte_map cte_name default_expr delim_flipped distinct
    distinct_on_targets duplicate_eliminated_columns else_expr end end_expr entries exclude_clause
    exclude_list expected_names expected_types export_state expr expression filter filter_expr
    from_table function function_name group_expressions group_sets groups has_ignore_nulls having id
    identifier ignore_nulls include_nulls index input is_implicit is_null is_operator is_percentage
    join_type key key_targets kind left lhs limit limit_type literal lower map materialized method
    modifiers name named_param_map nearest_approx nearest_count nearest_order_type node null_order
    offset offset_expr order_bys orders partitions path payload_aggregates pivot_enum
    pivot_expressions pivots qualified_exclude_list qualified_name qualify query query_location
    query_location_length query_node ranking_expression ref_type relation_name rename_list
    repeatable replace_list right sample sample_rate sample_size schema schema_name seed select_list
    setop_all setop_type show_type source star_expr start start_expr subquery subquery_type
    syntax_type table table_name text then_expr try_cast type type_expr type_info type_name
    union_all unpivot_names upper using_columns value values when_expr where_clause with_ordinality
    """.split()
)

# what may stand where a mart stands, with arguments
TABLE_FUNCTIONS = frozenset(
    "generate_series json_each json_tree pg_timezone_names range repeat unnest".split()
)

# schemas and databases that the engine itself has: `main.lower(…)` is a function of a schema,
# `name.lower(…)` is a column with a method
SCHEMAS = frozenset("information_schema main memory pg_catalog system temp".split())


# functions that put together what rollups keep of an aggregate; people cannot call them
STATE_FUNCTIONS = frozenset({"combine_aggr", "finalize"})

# functions, and names without brackets, whose value is another at another moment
VOLATILE = frozenset(
    """
    age current_date current_localtime current_localtimestamp gen_random_uuid get_current_time
    get_current_timestamp now random setseed today transaction_timestamp uuid uuidv4 uuidv7
    """.split()
)
CLOCKS = frozenset("current_date current_time current_timestamp localtime localtimestamp".split())


def _lines(name: str) -> list[str]:
    text = files("serving.governance").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _refused() -> dict[str, str]:
    """Function -> why nobody may call it."""
    why, found = "", {}
    for line in _lines("refused.txt"):
        if line.startswith("["):
            why = line.partition("] ")[2]
        else:
            found[line] = why
    return found


FUNCTIONS = frozenset(_lines("functions.txt"))
REFUSED = _refused()
