"""
A wave remembers
================
"""
import wavefield as wf
