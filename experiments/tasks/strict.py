"""How settings are checked: unknown keys and silent conversions from one type to another are refused."""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
