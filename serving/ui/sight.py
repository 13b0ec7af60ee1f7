"""What a person may see, in one phrase."""

from serving.governance.access import aggregate_rule, columns_under
from serving.identity import User
from serving.project import Project


def sight(project: Project, user: User) -> str:
    """`7 of 9 marts, region EMEA only`."""
    marts = set(project.visible_marts(user))
    common = {name for name, mart in project.content.marts.items() if mart.visible and not mart.built_in}
    all_marts = len(common | marts)
    policy = project.content.policy
    ruled = [rule for rule in policy.rows if rule.mart in marts and not set(rule.exempt) & set(user.roles)]
    masked = [  # a hidden column does not exist for this person, so it has no name either
        name
        for rule in policy.columns
        if rule.mask != "hide" and not set(rule.exempt) & set(user.roles)
        for mart in marts
        for name in columns_under(rule, project.content.marts[mart])
    ]
    grouped = [mart for mart in marts if aggregate_rule(project.content, mart, user)]
    words = ["all marts" if len(marts) == all_marts else f"{len(marts)} of {all_marts} marts"]
    if not ruled:
        words.append("all rows")
    elif shown := [f"{name} {_value(value)}" for name, value in user.attributes.items()]:
        words.append(" and ".join(shown) + (" only" if len(ruled) == len(marts) else " in some"))
    else:
        words.append("some rows")
    if grouped:
        words.append("in groups only" if len(grouped) == len(marts) else "some in groups only")
    if masked:
        words.append(f"{' and '.join(dict.fromkeys(masked))} masked")
    return ", ".join(words)


def _value(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, tuple) else str(value)
