"""How settings are checked: no unknown key, no silent conversion of one type into another."""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
