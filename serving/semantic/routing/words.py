"""The words of a question that mean the same over a rollup's groups as over the mart's rows."""

from serving import row_words

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

# of one row, over values that are whole
SCALARS = row_words.SCALARS | frozenset(
    "coalesce format isfinite list_contains list_value printf row today translate".split()
)
OPERATORS = row_words.OPERATORS | frozenset("GROUPING_FUNCTION".split())
CLASSES = row_words.CLASSES

# written like columns, where no column is called so
MOMENTS = frozenset("current_date current_timestamp localtimestamp".split())
