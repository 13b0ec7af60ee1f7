"""MetricFlow's filters, which are Jinja over names of dimensions, as conditions on a mart's rows."""

import ast
import re

from serving.importing.dbt.semantic import Modelled
from serving.importing.expressions import plain_column, row_expression
from serving.importing.findings import NotCarried

_CALL = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PARTS = ("Dimension", "TimeDimension", "Entity")


def condition(template: str, model: Modelled) -> str:
    """The filter over the rows of the model's mart; raises NotCarried where it reads anything else."""
    text = _CALL.sub(lambda found: _held(_sql(found[1], model)), template)
    if "{{" in text or "{%" in text or "{#" in text:
        raise NotCarried(f"its filter `{' '.join(template.split())}` holds Jinja that is more than names")
    return row_expression(text, model.read)


def _held(text: str) -> str:
    """The text as one operand."""
    return text if plain_column(text) or text.startswith("date_trunc(") else f"({text})"


def all_of(conditions: list[str]) -> str | None:
    """One condition that holds where all do."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return " and ".join(f"({each})" for each in conditions)


def _sql(text: str, model: Modelled) -> str:
    """`Dimension('order__status')` and the like as SQL."""
    refusal = NotCarried(f"its filter holds `{text}`, which is more than the name of a dimension")
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise refusal from error
    grain = None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        if call.func.attr != "grain":
            raise refusal
        grain, call = _words(call, refusal)[0], call.func.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise refusal
    if call.func.id not in _PARTS:
        raise NotCarried(f"its filter asks for `{text}`: a condition on rows cannot")
    name, *more = _words(call, refusal)
    if call.func.id == "Entity":
        return _entity(name, model)
    if more and call.func.id == "TimeDimension":
        grain = more.pop(0)
    if more:
        raise refusal
    return _dimension(name, grain, model)


def _words(call: ast.Call, refusal: NotCarried) -> list[str]:
    """The arguments of a call, which must be texts."""
    values = [*call.args, *(keyword.value for keyword in call.keywords if not _empty(keyword.value))]
    words = [value.value for value in values if isinstance(value, ast.Constant)]
    if not words or len(words) < len(values) or not all(isinstance(word, str) for word in words):
        raise refusal
    return [str(word) for word in words]


def _empty(value: ast.expr) -> bool:
    return isinstance(value, ast.List) and not value.elts


def _entity(name: str, model: Modelled) -> str:
    for entity in model.spec.entities:
        if entity.name == name:
            return row_expression(entity.text, model.read)
    raise NotCarried(f"its filter reads the entity '{name}', which {model.spec.name} does not hold")


def _dimension(name: str, grain: str | None, model: Modelled) -> str:
    *path, last = name.split("__")
    if last == "metric_time" and not path:
        last = model.spec.defaults.agg_time_dimension
    elif path not in ([], [model.spec.prefix]):
        raise NotCarried(f"its filter reads '{name}' through a join: add it to the mart's SQL as a column")
    found = model.dimension(last)
    if found is None:
        raise NotCarried(f"its filter reads '{name}', which {model.spec.name} does not hold")
    text = row_expression(found.text, model.read)
    if found.type != "time":
        return text
    cut = (grain or found.type_params.time_granularity).lower()
    if not re.fullmatch(r"[a-z]+", cut):
        raise NotCarried(f"its filter cuts '{name}' to {cut}")
    return f"date_trunc('{cut}', {text})"
