"""Evaluate ejabberd's access rules as far as the files determine them."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from warmside.doctor.ejabberd import Ejabberd
from warmside.jids import InvalidJID, prepare

LISTS = (list, tuple)


def allows_address(ejabberd: Ejabberd, host: str, access: Any, address: str) -> bool | None:
    """True if an access rule allows an address; ``None`` if it can't be determined.

    :param access: the name of a rule, ``all``, ``none``, or the rule itself.
    """
    if isinstance(access, str) and access in ("all", "none"):
        return access == "all"
    if isinstance(access, str):
        if ejabberd.is_unsure("access_rules", host) or ejabberd.is_unsure("acl", host):
            return None
        entry = ejabberd.entry("access_rules", host)
        access = entry.value.plain().get(access, []) if entry is not None and entry.value.kind == "map" else []
    acl = ejabberd.entry("acl", host)
    acls = acl.value.plain() if acl is not None and acl.value.kind == "map" else {}
    for action, rules in _pairs(access):
        matched = [_matches(name, value, acls, address) for name, value in _rules(rules)]
        if matched and all(matched):
            return action == "allow"
        if None in matched and False not in matched:
            return None
    return False


def _pairs(access: Any) -> Iterator[tuple[str, Any]]:
    """Return the actions of a rule, in order. It is a mapping, or a list of mappings and of names."""
    for part in access if isinstance(access, LISTS) else [access]:
        if isinstance(part, dict):
            yield from part.items()
        else:
            yield str(part), "all"


def _rules(rules: Any) -> Iterator[tuple[str, Any]]:
    """Return kinds and values; a name alone is that of an ACL."""
    for part in rules if isinstance(rules, LISTS) else [rules]:
        if isinstance(part, dict):
            for kind, value in part.items():
                for each in value if isinstance(value, LISTS) else [value]:
                    yield kind, each
        else:
            yield "acl", str(part)


def _matches(kind: str, value: Any, acls: dict[str, Any], address: str) -> bool | None:
    if kind == "ip":
        return _in_network(address, str(value))
    if kind != "acl":
        return False  # rules about users match no address
    if value in ("all", "none"):
        return bool(value == "all")
    found = [_matches(each, item, {}, address) for each, item in _rules(acls.get(value, []))]
    return True if True in found else None if None in found else False


def _in_network(address: str, network: str) -> bool | None:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return None


def admins(ejabberd: Ejabberd, host: str) -> list[str]:
    """Return the accounts of a host that ``acl: admin`` names: prepared bare JIDs. Patterns are left out."""
    entry = ejabberd.entry("acl", host)
    if entry is None or entry.value.kind != "map":
        return []
    found = []
    for kind, value in _rules(entry.value.plain().get("admin", [])):
        if kind == "user":
            pairs = value.items() if isinstance(value, dict) else [(str(value), None)]
            for user, server in pairs:
                text = f"{user}@{server}" if server else str(user) if "@" in str(user) else f"{user}@{host}"
                try:
                    jid = prepare(text)
                except InvalidJID:
                    continue
                if jid.host == host:
                    found.append(jid.userhost())
    return found
