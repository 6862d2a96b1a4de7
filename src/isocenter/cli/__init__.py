"""The command line: one file a verb, each a thin dress over `isocenter.workflow`."""
