"""Macros of ``ejabberd.yml``: ``define_macro``, and variables of ejabberd's environment."""

from collections.abc import Iterable, Mapping

from warmside.doctor.yamlfile import MAX_VALUES, UNSURE, Entry, Plain, Value, YamlError

VARIABLE = "EJABBERD_MACRO_"
"""Prefix of environment variables that define macros."""


class Macros:
    """Replaces macros: a scalar with a macro's name, and ``@NAME@`` in a text.

    :param entries: the top-level options.
    :param environ: ejabberd's environment. What its variables define is `UNSURE`.
    """

    def __init__(self, entries: Iterable[Entry], environ: Mapping[str, str]) -> None:
        self._macros: dict[str, Value] = {}
        self._count = 0
        for entry in entries:
            if entry.key == "define_macro":
                self._macros |= {macro.key: macro.value for macro in entry.value}
        for name in environ:
            if name.startswith(VARIABLE):
                self._macros[name.removeprefix(VARIABLE)] = UNSURE

    def replace(self, value: Value, within: tuple[str, ...] = ()) -> Value:
        """Return the value without macros; a part that macros do not determine is `UNSURE`.

        :raises YamlError: there are too many values.
        """
        self._count += 1
        if self._count > MAX_VALUES:
            raise YamlError(f"macros make more than {MAX_VALUES} values")
        if value.kind in ("list", "map"):
            items = tuple(Entry(item.key, self.replace(item.value, within), item.place) for item in value)
            return Value(value.kind, items=items)
        if value.kind != "scalar" or not isinstance(value.scalar, str):
            return value
        text = value.scalar
        if text in self._macros:
            return UNSURE if text in within else self.replace(self._macros[text], (*within, text))
        for name, macro in self._macros.items() if "@" in text else ():
            if f"@{name}@" in text:
                if macro.kind != "scalar":
                    return UNSURE
                text = text.replace(f"@{name}@", str(macro.scalar))
        return Value("scalar", Plain(text) if isinstance(value.scalar, Plain) else text)
