"""The words of a question that mean the same over a rollup's groups as over the mart's rows."""

# aggregates: what a rollup keeps of rows, or does not
AGGREGATES = frozenset(
    """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_min argmax argmin
    array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop
    covar_samp entropy favg first fsum geomean group_concat histogram kahan_sum kurtosis last list listagg
    mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_slope
    reservoir_quantile sem skewness stddev stddev_pop stddev_samp string_agg sum sum_no_overflow sumkahan
    var_pop var_samp variance
    """.split()
)

# functions of one row: the same arguments always give the same value, and nothing else is read
SCALARS = frozenset(
    """
    !~~ !~~* % * ** + - / // << >> ^ ^@ | || & ~ ~~ ~~* ~~~ @
    abs add ceil ceiling coalesce concat concat_ws contains current_date date_add date_diff date_part
    date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear
    decade divide ends_with epoch exp floor format greatest hour if ifnull ilike_escape isfinite isodow
    isoyear last_day lcase least left len length like_escape list_contains list_value ln log log10 log2
    lower lpad ltrim make_date microsecond millisecond minute mod month monthname multiply not_ilike_escape
    not_like_escape nullif pow power prefix printf quarter regexp_extract regexp_full_match regexp_matches
    regexp_replace replace reverse right round row rpad rtrim second sign split_part sqrt starts_with
    strftime strip_accents strptime  substr substring subtract suffix time_bucket to_centuries
    to_days to_decades to_hours to_microseconds to_milliseconds to_minutes to_months to_quarters
    to_seconds to_weeks to_years today translate trim trunc try_strptime ucase upper week weekday
    weekofyear year yearweek
    """.split()
)

# operators of one row
OPERATORS = frozenset(
    """
    COMPARE_IN COMPARE_NOT_IN GROUPING_FUNCTION OPERATOR_COALESCE OPERATOR_IS_NOT_NULL OPERATOR_IS_NULL
    OPERATOR_NOT OPERATOR_NULLIF OPERATOR_TRY
    """.split()
)

# other classes of expressions of one row
CLASSES = frozenset("BETWEEN CASE CAST COMPARISON CONJUNCTION CONSTANT PARAMETER TYPE".split())

# written like columns, where no column is called so
MOMENTS = frozenset("current_date current_timestamp localtimestamp".split())
