"""Reports: tables and figures of runs, beside the published numbers.

Begin with `report`; `tables` reads the published tables and finds the runs that belong to them, `figures` draws,
`memory` looks for waves in networks trained on history tasks.
"""
