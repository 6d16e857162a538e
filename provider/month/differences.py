"""What one revision of a report states otherwise than the one before: figure by figure, pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from delivery.reporting.usage import Difference, TenantUsage


def differences(before: Iterable[TenantUsage], after: Iterable[TenantUsage]) -> tuple[Difference, ...]:
    """Return every figure that differs, by agent, tenant and field.

    A tenant that is in one of them only differs in `state`, which the other does not know,
    and in all that is known of it.

    Args:
        before: The tenants of the revision before.
        after: The tenants now.
    """
    old = {(one.agent, one.tenant): dict(_figures(one)) for one in before}
    new = {(one.agent, one.tenant): dict(_figures(one)) for one in after}
    return tuple(
        Difference(*key, what, stated, states)
        for key in sorted(old.keys() | new.keys())
        for what in dict.fromkeys([*new.get(key, {}), *old.get(key, {})])
        if (stated := old.get(key, {}).get(what)) != (states := new.get(key, {}).get(what))
    )


def _figures(usage: TenantUsage) -> Iterator[tuple[str, str | None]]:
    """Yield each figure by its dotted name; a list is one figure."""
    for field in fields(usage):
        if field.name not in ("agent", "tenant"):
            yield from named(field.name, getattr(usage, field.name))


def named(name: str, value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield a figure, or each figure within it, by its dotted name, as text; None: not known."""
    if is_dataclass(value):
        for field in fields(value):
            inner = getattr(value, field.name)
            yield from named(f"{name}.{field.name}", inner)
    elif isinstance(value, tuple):
        yield name, ", ".join(_element(each) for each in value) or None
    else:
        yield name, None if value is None else _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _element(value: Any) -> str:
    if isinstance(value, tuple):
        return ":".join("?" if each is None else _text(each) for each in value)
    if is_dataclass(value):
        return ":".join(_text(getattr(value, field.name)) for field in fields(value))
    return _text(value)
