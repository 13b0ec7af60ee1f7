"""The words a query over an aggregate-only mart may use."""

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

# functions of one row: the same arguments always give the same value, and nothing else is read
SCALARS = frozenset(
    """
    !~~ !~~* % * ** + - / // << >> ^ ^@ | || & ~ ~~ ~~* ~~~ @
    abs ceil ceiling concat concat_ws contains current_date date_add date_diff date_part date_sub
    date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear decade
    divide ends_with epoch exp floor greatest hour if ifnull ilike_escape isodow isoyear last_day lcase
    least left len length like_escape ln log log10 log2 lower lpad ltrim make_date microsecond
    millisecond minute mod month monthname multiply not_ilike_escape not_like_escape now nullif power
    pow prefix quarter regexp_extract regexp_full_match regexp_matches regexp_replace replace reverse
    right round rpad rtrim second sign split_part sqrt starts_with strftime strip_accents strptime
    struct_extract substr substring subtract suffix time_bucket to_centuries to_days to_decades to_hours
    to_microseconds to_milliseconds to_minutes to_months to_quarters to_seconds to_weeks to_years trim
    trunc try_strptime ucase upper week weekday weekofyear year yearweek add
    """.split()
)

# operators of one row
OPERATORS = frozenset(
    """
    ARRAY_EXTRACT COMPARE_IN COMPARE_NOT_IN OPERATOR_COALESCE OPERATOR_IS_NOT_NULL OPERATOR_IS_NULL
    OPERATOR_NOT OPERATOR_NULLIF OPERATOR_TRY STRUCT_EXTRACT
    """.split()
)

# other classes of expressions of one row
CLASSES = frozenset("BETWEEN CASE CAST COLLATE COMPARISON CONJUNCTION CONSTANT PARAMETER TYPE".split())
