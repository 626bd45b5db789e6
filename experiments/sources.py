"""Where configs and tables lie, and which of their settings a run may change: known without loading anything."""

from pathlib import Path

CONFIGS = Path(__file__).parent / "configs"
TABLES = Path(__file__).parent / "tables"
FREE = ("steps", "epochs", "evaluate_every", "patience", "stop_when_solved", "record_at")  # may change within a run
