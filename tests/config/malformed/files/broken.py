"""A plugin that lacks a library."""

from auditor_stand_in_library import sidestep as sidestep
