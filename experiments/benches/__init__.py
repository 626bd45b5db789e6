"""What a training step costs: at the settings of the papers, and in the idioms of ordinary programs.

Begin with `bench`, which the command calls; `idioms` holds the cases of ordinary programs.
"""
