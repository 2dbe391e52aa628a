"""The commands with their options and help.

These modules are imported at every start. So what a command needs to do its work is imported when it runs.
"""
