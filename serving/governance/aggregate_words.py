"""The words a query over an aggregate-only mart may use."""

from serving import row_words

# aggregates that say something about all of their values
AGGREGATES = frozenset(
    """
    approx_count_distinct avg count count_star mean stddev stddev_pop stddev_samp sum var_pop var_samp
    variance
    """.split()
)

# aggregates that show a value of one row, or hold all values
SHOWING = frozenset(
    """
    any_value approx_quantile arbitrary arg_max arg_min argmax argmin array_agg bit_and bit_or bit_xor
    bool_and bool_or first group_concat histogram json_group_array last list listagg mad max max_by
    median min min_by mode product quantile quantile_cont quantile_disc string_agg
    """.split()
)

# of one row, those that read parts of a value among them
SCALARS = row_words.SCALARS | frozenset("now struct_extract".split())
OPERATORS = row_words.OPERATORS | frozenset("ARRAY_EXTRACT STRUCT_EXTRACT".split())
CLASSES = row_words.CLASSES | frozenset("COLLATE".split())
