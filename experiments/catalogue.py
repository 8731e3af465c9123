"""Tables of interventions: all of them, or everything about one."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from neoteny.core.options import limits_of
from neoteny.core.registry import first_line
from neoteny.plasticity.interventions import (
    INTERVENTIONS,
    Intervention,
    parse_intervention,
)
from neoteny.plasticity.interventions.intervention import HOOKS
from neoteny.plasticity.interventions.traits import why_not

__all__ = ["intervention", "interventions"]


def interventions() -> Table:
    """A row for each intervention, with everything that is known of it."""
    table = Table("name", "what it does", *_FACTS, "defaults", "tuned in")
    for name, cls in INTERVENTIONS.items():
        row = [first_line(cls), *facts(name).values(), ", ".join(defaults(name)) or "-"]
        row.append(", ".join(f"{key}={values}" for key, values in cls.ranges.items()) or "-")
        table.add_row(name, *row)
    return table


def intervention(name: str) -> Group:
    """Everything about one: its documentation, the facts, and its settings with their defaults.

    Raises:
        ValueError: If there is none of that name.
    """
    cls = INTERVENTIONS.find(name)
    known = Table.grid(Column(style="bold"), Column(), padding=(0, 2))
    for label, value in facts(name).items():
        known.add_row(label, value)
    headers = ("PPO, classifier", "DQN", "must be", "tuned in", "what it is")
    settings = Table(Column("setting", no_wrap=True), *headers)
    docs, limits = field_docs(cls), limits_of(cls)
    ours, dqn = (parse_intervention(name, agent).settings for agent in ("ppo", "dqn"))
    for key, value in ours.items():
        tuned = str(cls.ranges.get(key, "-"))
        facts_of = (_show(value), _show(dqn[key]), limits.get(key, "-"), tuned, docs.get(key, "-"))
        settings.add_row(key, *facts_of)
    parts: list[RenderableType] = [
        Text(name, style="bold"),
        Text(inspect.getdoc(cls) or ""),
        Text(),
        known,
    ]
    return Group(*parts, Text(), settings) if ours else Group(*parts)


_FACTS = ("hooks", "needs", "keeps", "time", "paper", "not with")


def facts(name: str) -> dict[str, str]:
    """Properties of an intervention, by the names of `_FACTS`."""
    cls = INTERVENTIONS[name]
    others = ", ".join(sorted(conflicts(name))) or "-"
    hooks = ", ".join(hook for hook in HOOKS if hook in cls.hooks) or "-"
    values = (hooks, needs(name), cls.metadata.state, cls.metadata.cost, cls.metadata.paper, others)
    return dict(zip(_FACTS, values, strict=True))


def needs(name: str) -> str:
    """Inputs that an intervention needs beside gradients, with the agents' defaults."""
    found = []
    ppo, dqn = (parse_intervention(name, agent).needs_boundaries for agent in ("ppo", "dqn"))
    if ppo or dqn:
        found.append("switches" if ppo == dqn else f"switches ({'PPO' if ppo else 'DQN'})")
    if INTERVENTIONS[name].metadata.probe:
        found.append("minibatch")
    return ", ".join(found) or "-"


def defaults(name: str) -> list[str]:
    """The settings that are numbers, with DQN's in brackets where they differ."""
    ours, dqn = (parse_intervention(name, agent).settings for agent in ("ppo", "dqn"))
    return [
        f"{key}={_show(value)}" + (f" ({_show(dqn[key])})" if dqn[key] != value else "")
        for key, value in ours.items()
        if not isinstance(value, bool) and (value is not None or dqn[key] is not None)
    ]


def conflicts(name: str) -> set[str]:
    """Names of the interventions that one cannot be combined with."""
    mine = INTERVENTIONS[name].traits
    return {
        other for other, cls in INTERVENTIONS.items() if other != name and why_not(mine, cls.traits)
    }


def field_docs(cls: type[Intervention]) -> dict[str, str]:
    """The documentation that follows each field in the source of a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, Intervention):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for here, after in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[here.target.id] = " ".join(str(after.value.value).split())
    return found


def _show(value: object) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    return re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].replace("+", ""), f"{value:g}")
