"""The words of DuckDB's syntax tree that say the same of equal rows: nothing else is read."""

# functions of one row
SCALARS = frozenset(
    """
    !~~ !~~* % & * ** + - / // << >> @ ^ ^@ | || ~ ~~ ~~* ~~~
    abs add ceil ceiling concat concat_ws contains current_date date_add date_diff date_part
    date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek
    dayofyear decade divide ends_with epoch exp floor greatest hour if ifnull ilike_escape isodow
    isoyear last_day lcase least left len length like_escape ln log log10 log2 lower lpad ltrim
    make_date microsecond millisecond minute mod month monthname multiply not_ilike_escape
    not_like_escape nullif pow power prefix quarter regexp_extract regexp_full_match regexp_matches
    regexp_replace replace reverse right round rpad rtrim second sign split_part sqrt starts_with
    strftime strip_accents strptime substr substring subtract suffix time_bucket to_centuries
    to_days to_decades to_hours to_microseconds to_milliseconds to_minutes to_months to_quarters
    to_seconds to_weeks to_years trim trunc try_strptime ucase upper week weekday weekofyear year
    yearweek
    """.split()
)

# operators of one row
OPERATORS = frozenset(
    """
    COMPARE_IN COMPARE_NOT_IN OPERATOR_COALESCE OPERATOR_IS_NOT_NULL OPERATOR_IS_NULL OPERATOR_NOT
    OPERATOR_NULLIF OPERATOR_TRY
    """.split()
)

# other classes of expressions of one row
CLASSES = frozenset("BETWEEN CASE CAST COMPARISON CONJUNCTION CONSTANT PARAMETER TYPE".split())
