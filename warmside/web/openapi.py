"""The description of the interface."""


def description() -> dict[str, object]:
    return {}
